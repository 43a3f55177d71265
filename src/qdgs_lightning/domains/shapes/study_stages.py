"""The pieces of the shapes experiment, each of which one process works off by itself."""

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

from qdgs_lightning.parsing.functions import function_parser, parse_arguments
from qdgs_lightning.parsing.rooms import import_rooms
from qdgs_lightning.search.run import search
from qdgs_lightning.studies.aggregate import read_results
from qdgs_lightning.studies.config import Config, fit, read_configs, refresh_of, written
from qdgs_lightning.utils.atomic_files import replacing, write_json

Arm = Literal["none", "random", "rejection", "qd", "oracle"]
ARMS: tuple[Arm, ...] = ("none", "random", "rejection", "qd", "oracle")
SAMPLERS: tuple[Arm, ...] = ("random", "rejection", "qd")


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

    def config(self, arm: Arm) -> Config:
        """Read an arm's configuration.

        Raises:
            TableError: A file is missing or no configuration.
        """
        path = self.configs / f"shapes_{arm}.yaml"
        return read_configs([path, *([self.overlay] if self.overlay else [])])

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

    def outcome(self, experiment: Experiment) -> str:
        """Say that it is done."""
        return f"{self}: done"

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
        config = experiment.config("qd")
        refresh = refresh_of(config, arm="shapes_qd")["init_args"]
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
        parser = function_parser(search, prog="qdgs search")
        import_rooms()
        search(**parse_arguments(parser, search, ["--config", str(written(folder, words))]))
        os.replace(unfinished, path)

    def outcome(self, experiment: Experiment) -> str:
        """Say that it is done."""
        return f"{self}: done"

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
            refresh = refresh_of(config, arm="shapes_qd")["init_args"]
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
            from qdgs_lightning.domains.shapes.study_pools import audit_datamodule

            datamodule = cast(SyntheticDataModule, cli.datamodule)
            sheet = experiment.output / "pools" / f"{path.stem}.png"
            report = audit_datamodule(datamodule, experiment.annotator, contact_sheet=sheet)
            result["audit"] = asdict(report)
        write_json(path, result)

    def outcome(self, experiment: Experiment) -> str:
        """Say how well it does."""
        (result,) = read_results([self.file(experiment)])
        test = result["test"]
        balanced, worst = 100 * test["balanced"], 100 * test["worst"]
        return f"{self}: balanced {balanced:.1f}, worst group {worst:.1f}"

    def __str__(self) -> str:
        return f"{self.arm}, bias {self.bias}, seed {self.seed}"


Job = PhaseOne | ArchiveOf | Run


def _fit(
    experiment: Experiment,
    config: Config,
    *,
    name: str,
    bias: float,
    seed: int,
    checkpoint: Path | None = None,
) -> Any:  # noqa: ANN401 (LightningCLI's attributes are untyped)
    """Run ``qdgs fit`` on a configuration, on from a checkpoint if there is one."""
    config["seed_everything"] = seed
    config["data"]["init_args"] |= {"bias": bias, "seed": seed}
    words = ["--ckpt_path", str(checkpoint)] if checkpoint else []
    return fit(config, experiment.output / "logs" / name, words=words)
