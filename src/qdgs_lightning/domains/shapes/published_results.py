"""Accuracies of the shapes experiment over seeds, in the files that ship with the package.

``qdgs shapes-table --summary FILE`` writes them with the numbers of its page; ``qdgs shapes-demo``
shows them beside its single runs.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from qdgs_lightning.studies.aggregate import Interval, Result
from qdgs_lightning.utils.atomic_files import write_json

NAMES = ("balanced", "worst")
_SHIPPED = Path(__file__).parent / "results"


def write_summary(path: Path, results: Sequence[Result]) -> None:
    """Write means and half widths of 95 % t-intervals over seeds, as shares in [0, 1].

    Args:
        path: The JSON file; ``{"seeds": n, "biases": {bias: {arm: {name: [mean, half width]}}}}``,
            a half width of null where there is one seed.
        results: Finished runs, at least one.
    """
    biases: dict[str, dict[str, dict[str, list[float | None]]]] = {}
    for bias, arm in dict.fromkeys((r["bias"], r["arm"]) for r in results):
        runs = [r["test"] for r in results if (r["bias"], r["arm"]) == (bias, arm)]
        of_arm = biases.setdefault(f"{bias:g}", {}).setdefault(arm, {})
        for name in NAMES:
            interval = Interval.of([float(run[name]) for run in runs])
            known = not math.isnan(interval.half_width)
            half = round(interval.half_width, 4) if known else None
            of_arm[name] = [round(interval.mean, 4), half]
    write_json(path, {"seeds": len({r["seed"] for r in results}), "biases": biases})


def shipped_intervals(overlay: Path | None, bias: float | None) -> dict[str, dict[str, Interval]]:
    """Return what the shipped experiment with an overlay says of a bias.

    Args:
        overlay: The file laid over all arms; its name says which experiment it is.
        bias: Colour bias of the training images.

    Returns:
        Intervals by arm and by ``balanced`` and ``worst``; empty where nothing of it ships.
    """
    path = _SHIPPED / f"{'shapes' if overlay is None else overlay.stem}.json"
    if bias is None or not path.is_file():
        return {}
    told = json.loads(path.read_text())
    arms = told["biases"].get(f"{bias:g}", {})
    return {
        arm: {
            name: Interval(mean=mean, half_width=half, size=told["seeds"])
            for name, (mean, half) in numbers.items()
        }
        for arm, numbers in arms.items()
    }
