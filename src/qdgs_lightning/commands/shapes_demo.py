"""``qdgs shapes-demo``: the whole way once, from biased images to a table of accuracies."""

import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from qdgs_lightning.commands.table_jobs import distinct
from qdgs_lightning.errors import ConfigError
from qdgs_lightning.figures import group_bars
from qdgs_lightning.files import replacing
from qdgs_lightning.loggers import run_folder
from qdgs_lightning.trainer_cli import TrainerCLI, newest_checkpoint


def shapes_demo(
    *,
    configs: Path | None = None,
    overlay: Path | None = None,
    arms: tuple[str, ...] = ("none", "random", "qd"),
    output: Path = Path("runs/shapes_demo.png"),
) -> None:
    """Train and test on the shapes with each sampler once, and compare.

    It does what ``qdgs fit --config shapes_<arm>`` and then ``qdgs test`` with the
    last checkpoint do, arm after arm. One run each shows the way, not an effect: for that
    ``qdgs shapes-table`` repeats everything over many seeds.

    Args:
        configs: Folder with shapes_<arm>.yaml; the shipped ones where not given.
        overlay: A YAML file laid over each of them, or the name of a shipped one.
        arms: Which of them to run; ``none`` trains on the biased images alone.
        output: Where the figure goes, a name that ends in .png.

    Raises:
        ConfigError: A configuration is missing or saves no checkpoint, or the output has another
            ending.
        TableError: There is no arm.
    """
    if output.suffix != ".png":
        raise ConfigError(f"output is {output}; give a name that ends in .png.")
    arms = distinct(arms, option="arms")
    console = Console(highlight=False, soft_wrap=True)
    accuracies: dict[str, dict[str, float]] = {}
    folders: dict[str, Path] = {}
    started = time.monotonic()
    for arm in arms:
        config = f"shapes_{arm}" if configs is None else str(configs / f"shapes_{arm}.yaml")
        layers = ["--config", config, *(["--config", str(overlay)] if overlay else [])]
        console.print(f"\n[bold]$ qdgs fit {' '.join(layers)}[/bold]")
        fit = TrainerCLI(["fit", *layers])
        checkpoint = newest_checkpoint(fit.trainer)
        if checkpoint is None:
            raise ConfigError(f"{config} saves no checkpoint: add a ModelCheckpoint callback.")
        folders[arm] = run_folder(fit.trainer)
        words = ["test", *layers, "--ckpt_path", str(checkpoint)]
        console.print(f"\n[bold]$ qdgs {' '.join(words)}[/bold]")
        test = TrainerCLI(words)
        accuracies[arm] = {
            name.removeprefix("test/").replace("_", " "): float(value)
            for name, value in test.trainer.callback_metrics.items()
            if name.startswith("test/")
        }
    with replacing(output) as unfinished:
        group_bars(accuracies, chance=0.5, differences=["gap"]).savefig(unfinished)
    console.print()
    console.print(_table(accuracies))
    for arm, folder in folders.items():
        console.print(f"{arm}: configuration, metrics, figures and checkpoints lie in {folder}")
    console.print(
        f"All bars in one figure: {output}\n{(time.monotonic() - started) / 60:.1f} minutes; "
        "one run per arm, so look into docs/results for seeds and intervals."
    )


def _table(accuracies: dict[str, dict[str, float]]) -> Table:
    """One row per measured quantity, one column per arm."""
    table = Table("accuracy in %", *accuracies, title="Test images without colour bias")
    for name in next(iter(accuracies.values())):
        cells = (f"{100 * values[name]:.1f}" for values in accuracies.values())
        table.add_row(name, *cells)
    return table
