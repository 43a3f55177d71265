"""The pieces of the shapes experiment, each of which one process works off by itself."""

import contextlib
import json
import logging
import multiprocessing
import os
import shutil
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
import yaml

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.files import replacing

Arm = Literal["none", "random", "rejection", "qd", "oracle"]
ARMS: tuple[Arm, ...] = ("none", "random", "rejection", "qd", "oracle")
SAMPLERS: tuple[Arm, ...] = ("random", "rejection", "qd")


class TableError(QDGSError):
    """The experiment cannot be run as asked for."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Where the configurations of the arms lie, and where results go.

    Attributes:
        configs: Folder with ``shapes_<arm>.yaml``.
        output: Folder of everything that is made.
        overlay: YAML file laid over the configuration of every arm.
        annotator: Weights of the independent annotator; None leaves pools unjudged.
    """

    configs: Path
    output: Path
    overlay: Path | None = None
    annotator: str | None = None

    def config(self, arm: Arm) -> dict[str, Any]:
        """Read an arm's configuration.

        Raises:
            TableError: The file is missing.
        """
        path = self.configs / f"shapes_{arm}.yaml"
        layers = [path, *([self.overlay] if self.overlay else [])]
        config: dict[str, Any] = {}
        for layer in layers:
            if not layer.is_file():
                raise TableError(f"There is no {layer}: name the folder with --configs.")
            config = _laid_over(config, yaml.safe_load(layer.read_text()))
        return config

    def checkpoint(self, bias: float, seed: int) -> Path:
        """Name the checkpoint after the first phase, which all arms go on from."""
        return self.output / "phase_one" / f"b{bias}_s{seed}.ckpt"

    def archive(self, seed: int) -> Path:
        """Name the archive of a seed, which does not depend on the bias."""
        return self.output / "archives" / f"s{seed}.safetensors"

    def result(self, arm: Arm, bias: float, seed: int) -> Path:
        """Name the result of one run."""
        return self.output / "results" / f"{arm}_b{bias}_s{seed}.json"


@dataclass(frozen=True, kw_only=True)
class PhaseOne:
    """Train on biased images, once for all arms."""

    bias: float
    seed: int

    def file(self, experiment: Experiment) -> Path:
        """Name what is made."""
        return experiment.checkpoint(self.bias, self.seed)

    def needs(self, experiment: Experiment) -> list[Path]:
        """Name what must be there before."""
        return []

    def run(self, experiment: Experiment) -> None:
        """Make it."""
        config = experiment.config("none")
        config["trainer"]["max_epochs"] = config["data"]["init_args"]["real_epochs"]
        cli = _fit(
            experiment, config, name=self.file(experiment).stem, bias=self.bias, seed=self.seed
        )
        path = self.file(experiment)
        with replacing(path) as unfinished:
            cli.trainer.save_checkpoint(unfinished)

    def __str__(self) -> str:
        return f"first phase, bias {self.bias}, seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class ArchiveOf:
    """Search once per seed, for all biases."""

    seed: int

    def file(self, experiment: Experiment) -> Path:
        """Name what is made."""
        return experiment.archive(self.seed)

    def needs(self, experiment: Experiment) -> list[Path]:
        """Name what must be there before."""
        return []

    def run(self, experiment: Experiment) -> None:
        """Spend at once what a fit would spend on its first fill and all refreshes."""
        from qdgs_lightning.cli import main

        config = experiment.config("qd")
        refresh = _refresh(config)["init_args"]
        every, epochs = refresh.get("every_n_epochs"), config["trainer"]["max_epochs"]
        times = (epochs - 1) // every if every else 0
        data = config["data"]["init_args"]
        path = self.file(experiment)
        unfinished = path.with_name(f"unfinished_{path.name}")
        words = {
            "generator": data["generator"],
            "guidance": data["guidance"],
            "search": {**refresh["search"], "seed": self.seed},
            "evaluations": refresh["evaluations"] + times * refresh["refresh_evaluations"],
            "output": str(unfinished),
            "accelerator": config["trainer"].get("accelerator", "cpu"),
        }
        folder = experiment.output / "logs" / f"archive_s{self.seed}"
        main(["search", "--config", str(_written(folder, words))])
        os.replace(unfinished, path)

    def __str__(self) -> str:
        return f"archive, seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class Run:
    """Train one arm on from the first phase, and test it."""

    arm: Arm
    bias: float
    seed: int

    def file(self, experiment: Experiment) -> Path:
        """Name what is made."""
        return experiment.result(self.arm, self.bias, self.seed)

    def needs(self, experiment: Experiment) -> list[Path]:
        """Name what must be there before."""
        needed = [experiment.checkpoint(self.bias, self.seed)]
        return [*needed, experiment.archive(self.seed)] if self.arm == "qd" else needed

    def run(self, experiment: Experiment) -> None:
        """Make it."""
        from qdgs_lightning.datamodules import SyntheticDataModule

        config = experiment.config(self.arm)
        if self.arm == "qd":
            refresh = _refresh(config)["init_args"]
            refresh |= {"archive": str(experiment.archive(self.seed)), "every_n_epochs": None}
        if self.arm in SAMPLERS:
            kept = experiment.output / "candidates" / f"{self.arm}_s{self.seed}.safetensors"
            config["data"]["init_args"]["candidates_file"] = str(kept)
        started = time.process_time()
        path = self.file(experiment)
        cli = _fit(
            experiment,
            config,
            name=path.stem,
            bias=self.bias,
            seed=self.seed,
            checkpoint=experiment.checkpoint(self.bias, self.seed),
        )
        trained = time.process_time()
        train_loss = float(cli.trainer.callback_metrics["train/loss"])
        (tested,) = cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)
        result = asdict(self) | {
            "test": {name.removeprefix("test/"): value for name, value in tested.items()},
            "train_loss": train_loss,
            "cpu_seconds": {"fit": trained - started, "test": time.process_time() - trained},
        }
        if self.arm in SAMPLERS and experiment.annotator is not None:
            from qdgs_lightning.commands.shapes_audit import audit_datamodule

            datamodule = cast(SyntheticDataModule, cli.datamodule)
            sheet = experiment.output / "pools" / f"{path.stem}.png"
            report = audit_datamodule(datamodule, experiment.annotator, contact_sheet=sheet)
            result["audit"] = asdict(report)
        write_json(path, result)

    def __str__(self) -> str:
        return f"{self.arm}, bias {self.bias}, seed {self.seed}"


Job = PhaseOne | ArchiveOf | Run


def work(job: Job, experiment: Experiment) -> float:
    """Do one job in a process of its own, on one thread, its output going to a file.

    Args:
        job: What to do.
        experiment: For which.

    Returns:
        CPU seconds that it took.

    Raises:
        TableError: It failed; the sentence names the file that says why.
    """
    torch.set_num_threads(1)
    started = time.process_time()
    log = experiment.output / "logs" / f"{job.file(experiment).stem}_{type(job).__name__}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _output_to(log):
            job.run(experiment)
    except (Exception, SystemExit) as error:
        raise TableError(f"The {job} failed ({error}): see {log}, and start again.") from None
    return time.process_time() - started


def end_with_parent() -> None:
    """Make this worker end when the process that started it does, however that was killed.

    Otherwise workers of a killed command wait for jobs for ever, each with its memory.
    """
    parent = multiprocessing.parent_process()

    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def write_json(path: Path, value: object) -> None:
    """Write JSON, whole or not at all."""
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(value, indent=1))


def _fit(
    experiment: Experiment,
    config: dict[str, Any],
    *,
    name: str,
    bias: float,
    seed: int,
    checkpoint: Path | None = None,
) -> Any:  # noqa: ANN401 (LightningCLI's attributes are untyped)
    """Run ``qdgs fit`` on a configuration, without what 250 runs need not have."""
    from importlib import import_module

    from qdgs_lightning.cli import ROOMS
    from qdgs_lightning.trainer_cli import TrainerCLI

    for room in ROOMS:
        import_module(f"qdgs_lightning.{room}")
    folder = experiment.output / "logs" / name
    shutil.rmtree(folder, ignore_errors=True)
    config["seed_everything"] = seed
    config["data"]["init_args"] |= {"bias": bias, "seed": seed}
    config["trainer"] |= {
        "logger": {
            "class_path": "lightning.pytorch.loggers.CSVLogger",
            "init_args": {"save_dir": str(folder.parent), "name": name, "version": ""},
        },
        "callbacks": [
            callback
            for callback in config["trainer"].get("callbacks", [])
            if callback["class_path"].endswith(("QDRefresh", "RestartOptimizer"))
        ],
        "limit_val_batches": 0,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    words = ["fit", "--config", str(_written(folder, config))]
    return TrainerCLI([*words, "--ckpt_path", str(checkpoint)] if checkpoint else words)


def _written(folder: Path, config: dict[str, Any]) -> Path:
    """Write a configuration into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "input.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def _refresh(config: dict[str, Any]) -> dict[str, Any]:
    """Find the QDRefresh callback of a configuration."""
    for callback in config["trainer"].get("callbacks", []):
        if callback["class_path"].endswith("QDRefresh"):
            found: dict[str, Any] = callback
            return found
    raise TableError("shapes_qd.yaml has no QDRefresh callback: add one, it says how to search.")


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Merge two trees; where both have a value, the upper one counts."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _laid_over(merged[key], value) if both else value
    return merged


@contextlib.contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Send what a job prints, logs and warns to a file."""
    with path.open("w") as file:
        logger = logging.getLogger("lightning.pytorch")
        handler = logging.StreamHandler(file)
        before, logger.handlers = logger.handlers, [handler]
        try:
            with (
                contextlib.redirect_stdout(file),
                contextlib.redirect_stderr(file),
                warnings.catch_warnings(action="ignore"),
            ):
                yield
        finally:
            logger.handlers = before
