"""``qdgs doctor``: what is missing, what does not fit, and how long a run will take."""

import argparse
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from qdgs_lightning.datamodules import FaceBenchmarks
from qdgs_lightning.doctor.context import Plan, leaving_no_trace, make_plan, plan_of
from qdgs_lightning.doctor.files import (
    check_archive_file,
    check_benchmarks,
    check_checkpoint,
    check_edits,
    check_generator,
    check_guidance,
    check_initial_weights,
    check_training_set,
    check_weights,
)
from qdgs_lightning.doctor.findings import (
    STANDS_IN_THE_WAY,
    Finding,
    guarded,
)
from qdgs_lightning.doctor.machine import (
    check_disk,
    check_memory,
    check_precision,
    check_processors,
    check_versions,
    check_wandb,
)
from qdgs_lightning.doctor.match import (
    check_alignment,
    check_batch,
    check_bins,
    check_classes,
    check_image_sizes,
    check_measures,
    check_parts,
    check_prompts,
    check_ranges,
    check_reload,
)
from qdgs_lightning.doctor.throughput import make_probe
from qdgs_lightning.errors import ConfigError, QDGSError
from qdgs_lightning.trainer.trainer_cli import TrainerCLI
from qdgs_lightning.utils.atomic_files import write_json

_log = logging.getLogger(__name__)

Check = Callable[[Plan], Iterable[Finding]]

# In this order: what comes later looks at what earlier ones have loaded. The name stands in the
# report where a check itself fails.
CHECKS: tuple[tuple[str, Check], ...] = (
    ("generator", check_generator),
    ("guidance", check_guidance),
    ("training set", check_training_set),
    ("benchmarks", check_benchmarks),
    ("identity edits", check_edits),
    ("archive file", check_archive_file),
    ("init_from", check_initial_weights),
    ("ckpt_path", check_checkpoint),
    ("weights", check_weights),
    ("training images", check_parts),
    ("align", check_alignment),
    ("image sizes", check_image_sizes),
    ("head", check_classes),
    ("grid", check_measures),
    ("ranges", check_ranges),
    ("bins", check_bins),
    ("prompts", check_prompts),
    ("trainer", check_reload),
    ("batch", check_batch),
    ("disk", check_disk),
    ("memory", check_memory),
    ("processors", check_processors),
    ("precision", check_precision),
    ("W&B", check_wandb),
    ("versions", check_versions),
)


# Those that a fit goes through before its loggers write anything: what they open and load, the fit
# keeps or would open at once, and the rest costs nothing.
BEFORE_A_FIT = (
    *("generator", "guidance", "training set", "identity edits", "archive file", "init_from"),
    *("ckpt_path", "training images", "align", "image sizes", "head", "grid", "bins", "trainer"),
    *("batch", "disk"),
)
# Of a test, validation or prediction without a checkpoint; one that is given brings all weights.
BEFORE_A_LOOK = ("init_from",)


def refuse_unready(cli: TrainerCLI, subcommand: str) -> None:
    """Go through the checks that take no time, before a Trainer command writes anything.

    Args:
        cli: The command, its parts built.
        subcommand: ``fit``, ``validate``, ``test`` or ``predict``.

    Raises:
        QDGSError: Something stands in the way; the first such thing that is found.
    """
    if subcommand == "fit":
        _refuse(plan_of(cli), BEFORE_A_FIT)
    elif cli.config[subcommand].get("ckpt_path") is None:
        _refuse(plan_of(cli), BEFORE_A_LOOK)
    if isinstance(cli.datamodule, FaceBenchmarks):
        cli.datamodule.open_benchmarks(subcommand)


def _refuse(plan: Plan, chosen: Sequence[str]) -> None:
    """Raise the first thing that stands in the way of a run, of what the chosen checks find."""
    for name, check in CHECKS:
        if name not in chosen:
            continue
        try:
            for finding in check(plan):
                if finding.state in STANDS_IN_THE_WAY:
                    raise ConfigError(finding.to_sentence())
        except QDGSError:
            raise
        except Exception as error:
            # A check that fails says nothing of the run, whose own error will be better.
            _log.debug("%s could not be looked at: %s", name, error)


def examine(words: Sequence[str], *, probe_seconds: float = 20.0) -> Iterator[Finding]:
    """Look at a run before it begins; nothing is written, seeded or downloaded.

    Args:
        words: As they would stand behind ``qdgs``: ``fit``, ``test`` or ``search``, ``--config``
            with a file, perhaps several times, and single options. Without the command's name, the
            files say which it is.
        probe_seconds: For how long rates are measured in all; 0 leaves that out.

    Yields:
        One finding after the other, as they are made.

    Example:
        >>> [str(f.to_text()) for f in examine(["--config", "configs/shapes_qd.yaml"])]
    """
    with leaving_no_trace():
        plan = make_plan(words)
        yield from plan.findings
        probe = (("speed", make_probe(probe_seconds)),) if probe_seconds > 0 else ()
        for name, check in (*CHECKS, *probe):
            yield from guarded(partial(check, plan), name)


def doctor(words: Sequence[str]) -> None:
    """Say before a run what is missing, what does not fit, and how long it takes.

    Prints a line for each thing that was looked at: its state, what was found, what to do.

    Args:
        words: Those of the command line: what `examine` takes, ``--probe_seconds``, and ``--json``
            with a file that gets the findings too.

    Raises:
        SystemExit: With status 1 if anything stands in the way of the run.
        ConfigError: An option of the doctor's own is no number.
        OSError: The JSON file cannot be written.
    """
    parser = argparse.ArgumentParser(
        prog="qdgs doctor",
        description="Say before a run what is missing, what does not fit, and how long it takes.",
        usage="qdgs doctor [fit|test|search] --config FILE.yaml [--OPTION VALUE ...]",
        epilog="All other options are those of `qdgs fit`, `test` or `search`, --config first.",
        allow_abbrev=False,
        exit_on_error=False,
    )
    parser.add_argument(
        "--probe_seconds",
        type=float,
        default=20.0,
        metavar="SECONDS",
        help="measure speed for about so long, and say how long the run will take; 0 for not",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings there too")
    try:
        own, others = parser.parse_known_args(list(words))
    except argparse.ArgumentError as error:
        raise ConfigError(f"{error}: see `qdgs doctor --help`.") from error
    findings = []
    console = Console()
    for finding in examine(others, probe_seconds=own.probe_seconds):
        if console.is_terminal:
            console.print(finding.to_row(), highlight=False)
        else:
            console.print(finding.to_text(), soft_wrap=True, highlight=False)
        findings.append(finding)
    count = {state: sum(f.state == state for f in findings) for state in STANDS_IN_THE_WAY}
    stands = sum(count.values())
    if own.json is not None:
        report = {"ready": stands == 0, "findings": [f.to_json() for f in findings]}
        write_json(own.json, report)
    if stands:
        told = " and ".join(f"{n} {state}" for state, n in count.items() if n)
        console.print(f"Not ready: {told}.", highlight=False)
        sys.exit(1)
    console.print("Nothing stands in the way.", highlight=False)
