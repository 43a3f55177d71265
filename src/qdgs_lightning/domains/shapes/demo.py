"""``qdgs shapes-demo``: the whole way once, from biased images to a table of accuracies."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import IO

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.table import Table

from qdgs_lightning.doctor.run import refuse_unready
from qdgs_lightning.domains.shapes.published_results import shipped_intervals
from qdgs_lightning.errors import ConfigError
from qdgs_lightning.reporting.figures import group_bars
from qdgs_lightning.reporting.loggers import run_folder
from qdgs_lightning.studies.aggregate import Interval
from qdgs_lightning.studies.runner import distinct
from qdgs_lightning.trainer.trainer_cli import TrainerCLI, newest_checkpoint
from qdgs_lightning.utils.atomic_files import replacing
from qdgs_lightning.utils.progress import Meter, progress
from qdgs_lightning.utils.remarks import output_to, shows_everything


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
    ``qdgs shapes-table`` repeats everything over many seeds, and the table shows in brackets what
    it found, where the package has that. All that the runs print goes to a log file beside the
    figure; with ``QDGS_DEBUG=1`` it is printed.

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
    console, log = Console(highlight=False, soft_wrap=True), output.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    terminal = sys.stdout  # for what is shown while the rest goes to the log
    bias: float | None = None
    accuracies: dict[str, dict[str, float]] = {}
    folders: dict[str, Path] = {}
    started = time.monotonic()
    for arm in arms:
        config = f"shapes_{arm}" if configs is None else str(configs / f"shapes_{arm}.yaml")
        layers = ["--config", config, *(["--config", str(overlay)] if overlay else [])]
        console.print(f"\n[bold]$ qdgs fit {' '.join(layers)}[/bold]")
        with _output_apart(log, console):
            fit = _ShownFit(["fit", *layers], name=arm, file=terminal)
        bias = fit.config["fit"].get("data.init_args.bias")
        checkpoint = newest_checkpoint(fit.trainer)
        if checkpoint is None:
            raise ConfigError(f"{config} saves no checkpoint: add a ModelCheckpoint callback.")
        folders[arm] = run_folder(fit.trainer)
        words = ["test", *layers, "--ckpt_path", str(checkpoint)]
        console.print(f"\n[bold]$ qdgs {' '.join(words)}[/bold]")
        with _output_apart(log, console):
            test = TrainerCLI(words, preflight=refuse_unready)
        accuracies[arm] = {
            name.removeprefix("test/").replace("_", " "): float(value)
            for name, value in test.trainer.callback_metrics.items()
            if name.startswith("test/")
        }
    with replacing(output) as unfinished:
        group_bars(accuracies, chance=0.5, differences=["gap"]).savefig(unfinished)
    console.print()
    shipped = shipped_intervals(overlay, bias) if configs is None else {}
    console.print(_table(accuracies, shipped))
    for arm, folder in folders.items():
        console.print(f"{arm}: configuration, metrics, figures and checkpoints lie in {folder}")
    console.print(
        f"All bars in one figure: {output}; all that the runs printed: {log}\n"
        f"{(time.monotonic() - started) / 60:.1f} minutes; one run per arm shows the way: "
        "docs/results has seeds and intervals."
    )


class _ShownFit(TrainerCLI):
    """A fit whose epochs are shown.

    Args:
        args: The command and its options.
        name: Of the run.
        file: Where to show them.
    """

    def __init__(self, args: list[str], *, name: str, file: IO[str]) -> None:
        self._epochs = _Epochs(name, file)
        with self._epochs:
            super().__init__(args, preflight=refuse_unready)

    def before_fit(self) -> None:
        """Let epochs be counted, a first fill being part of the first."""
        super().before_fit()
        callbacks: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        callbacks.insert(0, self._epochs)


class _Epochs(Callback, ExitStack):
    """Shows epochs of a fit until the context ends.

    Args:
        name: Of the run.
        file: Where to show them.
    """

    def __init__(self, name: str, file: IO[str]) -> None:
        super().__init__()
        self._name, self._file = name, file
        self._meter: Meter | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to show epochs."""
        if trainer.is_global_zero and trainer.max_epochs is not None:
            self._meter = self.enter_context(
                progress(
                    f"Training {self._name}", trainer.max_epochs, unit="epochs", file=self._file
                )
            )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count an epoch."""
        if self._meter is not None:
            self._meter.advance()


@contextmanager
def _output_apart(log: Path, console: Console) -> Iterator[None]:
    """Send what runs print to a log file, and name it where one of them fails."""
    try:
        with nullcontext() if shows_everything() else output_to(log, append=True):
            yield
    except BaseException:
        if not shows_everything():
            console.print(f"What was printed until then: {log}")
        raise


def _table(
    accuracies: Mapping[str, Mapping[str, float]], seeds: Mapping[str, Mapping[str, Interval]]
) -> Table:
    """Make a row per measured quantity and a column per arm.

    Args:
        accuracies: Of this run, by arm and quantity.
        seeds: What many seeds say of some of them.
    """
    table = Table("accuracy in %", *accuracies, title="Test images without colour bias")
    for name in next(iter(accuracies.values())):
        cells = []
        for arm, values in accuracies.items():
            known = seeds.get(arm, {}).get(name)
            cells.append(f"{100 * values[name]:.1f}" + (f" ({known})" if known else ""))
        table.add_row(name, *cells)
    sizes = {interval.size for numbers in seeds.values() for interval in numbers.values()}
    if sizes:
        table.caption = f"In brackets: mean of {max(sizes)} seeds ± 95 % interval"
    return table
