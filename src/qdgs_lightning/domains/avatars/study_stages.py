"""The pieces of the avatars experiment, each of which one process works off by itself."""

import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qdgs_lightning.domains.avatars.make_dataset import avatars_data
from qdgs_lightning.studies.aggregate import read_results
from qdgs_lightning.studies.config import Config, find_refresh, fit, read_configs
from qdgs_lightning.utils.atomic_files import replacing, write_json

NONE = "none"
"""The arm that begins with the biased training set."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Where the configurations of the arms lie, and where results go.

    An arm such as ``qd+wplus`` is ``avatars_qd.yaml`` with ``avatars_qd_wplus.yaml`` laid over it.

    Attributes:
        configs: Folder with ``avatars_<arm>.yaml``.
        output: Folder of everything that is made.
        overlay: YAML file laid over the configuration of every arm.
        reader: Weights of the reader that says what is in the pools.
    """

    configs: Path
    output: Path
    overlay: Path | None = None
    reader: str = "avatars_reader"

    def config(self, arm: str) -> Config:
        """Read an arm's configuration.

        Raises:
            TableError: A file is missing or no configuration.
        """
        base, *variants = arm.split("+")
        layers = [self.configs / f"avatars_{base}.yaml"]
        layers += [self.configs / f"avatars_{base}_{name}.yaml" for name in variants]
        return read_configs([*layers, *([self.overlay] if self.overlay else [])])

    def data(self, seed: int) -> Path:
        """Name the folder of a seed's training set and of the benchmarks."""
        return self.output / "data" / f"s{seed}"

    def pool(self, arm: str, seed: int) -> Path:
        """Name what is said of the images that an arm was trained on first."""
        return self.output / "pools" / f"{arm}_s{seed}.json"


@dataclass(frozen=True, kw_only=True)
class Data:
    """Draw the biased training set of a seed, and the benchmarks, which are the same for all."""

    seed: int

    def file(self, experiment: Experiment) -> Path:
        """Name what is made last."""
        return experiment.data(self.seed) / "train.rec"

    def needs(self, experiment: Experiment) -> list[Path]:
        """Name what must be there before."""
        return []

    def run(self, experiment: Experiment) -> None:
        """Make it."""
        shutil.rmtree(experiment.data(self.seed), ignore_errors=True)
        size = experiment.config(NONE)["data"]["init_args"]["image_size"]
        avatars_data(output=experiment.data(self.seed), image_size=size, seed=self.seed)

    def outcome(self, experiment: Experiment) -> str:
        """Say that it is done."""
        return f"{self}: done"

    def __str__(self) -> str:
        return f"training set, seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class FirstStage:
    """Train an arm on synthetic identities, and read what they show."""

    arm: str
    seed: int

    def file(self, experiment: Experiment) -> Path:
        """Name what is made last."""
        return experiment.output / "first_stage" / f"{self.arm}_s{self.seed}.ckpt"

    def needs(self, experiment: Experiment) -> list[Path]:
        """Name what must be there before."""
        return []

    def run(self, experiment: Experiment) -> None:
        """Make it."""
        from qdgs_lightning.domains.avatars.study_pools import read_pool
        from qdgs_lightning.search import Archive

        started = time.process_time()
        path = self.file(experiment)
        config = _seeded(experiment.config(self.arm), self.seed)
        folder = experiment.output / "logs" / f"first_{path.stem}"
        cli = fit(config, folder)
        seconds = time.process_time() - started
        archive = folder / "archive.safetensors"
        content = {
            "pool": read_pool(cli.datamodule, experiment.reader),
            "archive": asdict(Archive.load(archive).stats) if archive.is_file() else None,
            "cpu_seconds": seconds,
        }
        write_json(experiment.pool(self.arm, self.seed), content)
        with replacing(path) as unfinished:
            cli.trainer.save_checkpoint(unfinished)

    def outcome(self, experiment: Experiment) -> str:
        """Say what is in the pool."""
        (found,) = read_results([experiment.pool(self.arm, self.seed)])
        shares = found["pool"]["shares"]
        dark, old = 100 * shares["skin"]["dark"], 100 * shares["age"]["old"]
        return f"{self}: {dark:.1f} % dark, {old:.1f} % old"

    def __str__(self) -> str:
        return f"{self.arm}, first stage, seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class Run:
    """Train an arm on the biased training set, on from its first stage if it has one; test it."""

    arm: str
    seed: int

    def file(self, experiment: Experiment) -> Path:
        """Name the result."""
        return experiment.output / "results" / f"{self.arm}_s{self.seed}.json"

    def needs(self, experiment: Experiment) -> list[Path]:
        """Name what must be there before."""
        data = [Data(seed=self.seed).file(experiment)]
        return data if self.first is None else [*data, self.first.file(experiment)]

    @property
    def first(self) -> FirstStage | None:
        """The stage before."""
        return None if self.arm == NONE else FirstStage(arm=self.arm, seed=self.seed)

    def run(self, experiment: Experiment) -> None:
        """Make it."""
        started = time.process_time()
        config = _seeded(experiment.config(NONE), self.seed)
        data = str(experiment.data(self.seed))
        config["data"]["init_args"] |= {"train": data, "benchmarks": data}
        path = self.file(experiment)
        if self.first is not None:
            config["model"]["init_args"]["init_from"] = str(self.first.file(experiment))
        folder = experiment.output / "logs" / path.stem
        cli = fit(config, folder)
        loss = float(cli.trainer.callback_metrics["train/loss"])
        tested = cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)
        result: dict[str, Any] = {
            "arm": self.arm,
            "seed": self.seed,
            "test": {k.removeprefix("test/"): v for part in tested for k, v in part.items()},
            "train_loss": loss,
            "cpu_seconds": time.process_time() - started,
            "first_stage": None,
        }
        if self.first is not None:
            (result["first_stage"],) = read_results([experiment.pool(self.arm, self.seed)])
        write_json(path, result)

    def outcome(self, experiment: Experiment) -> str:
        """Say how well it does."""
        (result,) = read_results([self.file(experiment)])
        test = result["test"]
        dark, light = 100 * test["avatars_dark"], 100 * test["avatars_light"]
        return f"{self}: dark {dark:.1f}, light {light:.1f}"

    def __str__(self) -> str:
        return f"{self.arm}, seed {self.seed}"


def _seeded(config: Config, seed: int) -> Config:
    """Set the seed of everything that is drawn, and leave out validation, which decides nothing."""
    config["seed_everything"] = seed
    config["data"]["init_args"] |= {"seed": seed, "validate_on": []}
    refresh = find_refresh(config)
    if refresh is not None:
        refresh["init_args"]["search"]["seed"] = seed
    return config
