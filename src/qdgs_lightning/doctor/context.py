"""What a configuration asks for, built as the command itself would and not run."""

import logging
import os
import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from huggingface_hub import constants
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from torch.utils.data import Dataset

from qdgs_lightning.callbacks import QDRefresh
from qdgs_lightning.datamodules import FaceDataModule, SyntheticDataModule, SyntheticFaceDataModule
from qdgs_lightning.doctor.findings import Finding, failure, ok, wrong
from qdgs_lightning.errors import ConfigError, did_you_mean
from qdgs_lightning.generators import Generator
from qdgs_lightning.guidance import Guidance, GuidanceWrapper, PromptGuidance
from qdgs_lightning.parsing.config_files import read_yaml
from qdgs_lightning.parsing.functions import function_parser
from qdgs_lightning.parsing.shipped_configs import find_config
from qdgs_lightning.sampling import Sampler
from qdgs_lightning.search import SearchConfig
from qdgs_lightning.search.run import search as search_command
from qdgs_lightning.trainer.trainer_cli import TrainerCLI

Command = Literal["fit", "test", "search"]
_ONLY_SEARCH = ("generator", "guidance", "search", "output")
_ONLY_FIT = ("model", "data", "trainer")


class UnrunCLI(TrainerCLI):
    """Parses as `qdgs fit` does, and stops before anything is seeded, built or run."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Know of fits alone: a parser of each command takes most of the time."""
        return {"fit": TrainerCLI.subcommands()["fit"]}

    def _set_seed(self) -> None:
        """Leave the global sources of randomness alone."""

    def _parse_ckpt_path(self) -> None:
        """Leave it to `check_checkpoint`."""

    def before_instantiate_classes(self) -> None:
        """Leave the environment alone."""

    def instantiate_classes(self) -> None:
        """Build nothing."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Run nothing."""

    def build(self, part: str) -> Any:  # noqa: ANN401 (whatever the part is)
        """Build one part of the configuration, such as ``model``."""
        config = self.config.clone()
        for other in _ONLY_FIT:
            if other != part:
                config["fit"].pop(other)
        return self.parser.instantiate(config)["fit"][part]


@dataclass(kw_only=True)
class Plan:
    """A run that has not begun, as far as it could be built.

    Attributes:
        command: Which command the configuration is of; a test has its parts where a fit has.
        findings: What was found while it was parsed and built.
        settings: The trainer's settings, or those of the search command.
        cli: Of a fit, its parsed configuration.
        model: Of a fit.
        data: Of a fit.
        callbacks: Of a fit.
        loggers: Of a fit.
        trainer: Of a fit, without loggers and callbacks; None if this machine cannot have it.
        generator: Whose latents are searched or drawn.
        guidance: What judges its images.
        search: How to search, if there is a search.
        can_draw: Whether the generator is loaded.
        can_judge: Whether the guidance is loaded.
        built: Parts of a fit that could be built: ``model``, ``data``, ``trainer``.
        spent: Evaluations that the archive to be continued has behind it.
        images: The training set of files, once it is open.
        num_edits: How many images are drawn of each latent.
        num_classes: How many classes the data have, once that is known.
    """

    command: Command
    findings: list[Finding] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    cli: TrainerCLI | None = None
    model: LightningModule | None = None
    data: LightningDataModule | None = None
    callbacks: list[Callback] = field(default_factory=list)
    loggers: list[Logger] = field(default_factory=list)
    trainer: Trainer | None = None
    generator: Generator | None = None
    guidance: Guidance | None = None
    search: SearchConfig | None = None
    built: set[str] = field(default_factory=set)
    spent: int = 0
    can_draw: bool = False
    can_judge: bool = False
    images: Dataset[Any] | None = None
    num_edits: int = 1
    num_classes: int | None = None

    @property
    def checkpoint(self) -> str | None:
        """The ``ckpt_path`` of a fit or test."""
        if self.cli is None:
            return None
        path = self.cli.config[self.cli.config["subcommand"]].get("ckpt_path")
        return None if path is None else str(path)

    @property
    def sampler(self) -> Sampler | None:
        """What chooses synthetic images."""
        return self.data.sampler if isinstance(self.data, SyntheticDataModule) else None

    @property
    def faces(self) -> FaceDataModule | SyntheticFaceDataModule | None:
        """The data, if they are faces."""
        faces = FaceDataModule | SyntheticFaceDataModule
        return self.data if isinstance(self.data, faces) else None

    @property
    def drawn(self) -> SyntheticDataModule | None:
        """The data, if a generator draws what is trained on."""
        data = None if self.command == "test" else self.data
        if not isinstance(data, SyntheticDataModule) or data.first_synthetic_epoch is None:
            return None
        return data

    @property
    def batch_size(self) -> int | None:
        """Images per step and process; None for data that are not known here."""
        known = FaceDataModule | SyntheticDataModule
        return self.data.batch_size if isinstance(self.data, known) else None

    @property
    def refresh(self) -> QDRefresh | None:
        """The callback that searches."""
        return next((c for c in self.callbacks if isinstance(c, QDRefresh)), None)

    @property
    def prompts(self) -> PromptGuidance | None:
        """The guidance that judges by prompts, beneath whatever wraps it."""
        guidance = self.guidance
        while isinstance(guidance, GuidanceWrapper):
            guidance = guidance.guidance
        return guidance if isinstance(guidance, PromptGuidance) else None

    @property
    def evaluations(self) -> int:
        """Evaluations of the whole search."""
        if self.command == "search":
            return int(self.settings["evaluations"])
        refresh = self.refresh
        if refresh is None:
            return 0
        return refresh.evaluations + self.refreshes * refresh.refresh_evaluations

    @property
    def refreshes(self) -> int:
        """How often a fit renews the archive after its first fill."""
        refresh, epochs = self.refresh, self.max_epochs
        if refresh is None or refresh.every_n_epochs is None or epochs is None:
            return 0
        return max(0, (epochs - 1) // refresh.every_n_epochs)

    @property
    def max_epochs(self) -> int | None:
        """Epochs of a fit; None where it ends in another way."""
        epochs = self.settings.get("max_epochs")
        if epochs is None:  # as Lightning has it
            limited = self.settings.get("max_steps", -1) != -1 or self.settings.get("max_time")
            return None if limited else 1000
        return None if epochs < 0 else int(epochs)

    @property
    def processes(self) -> int:
        """On how many devices the run was asked to compute, as far as that is said."""
        if self.trainer is not None:
            return int(self.trainer.world_size)
        devices, nodes = self.settings.get("devices", 1), self.settings.get("num_nodes", 1)
        if isinstance(devices, str):
            named = [name for name in devices.split(",") if name.strip()]
            known = len(named) if len(named) > 1 else int(devices) if devices.isdigit() else 1
        else:
            known = devices if isinstance(devices, int) else len(devices)
        return max(1, known) * int(nodes)

    @property
    def device(self) -> torch.device:
        """Where this process would compute."""
        if self.trainer is not None:
            return self.trainer.strategy.root_device
        gpu = self.settings.get("accelerator") in ("auto", "gpu", "cuda")
        return torch.device("cuda" if gpu and torch.cuda.is_available() else "cpu")

    @property
    def root(self) -> Path:
        """Where a fit without loggers would write."""
        return Path(self.settings.get("default_root_dir") or ".")

    @property
    def folder(self) -> Path:
        """Where the run would write."""
        if self.command == "search":
            return Path(self.settings["output"]).parent
        saving = next((str(logger.save_dir) for logger in self.loggers if logger.save_dir), None)
        return Path(saving or self.root)


def command_of(words: Sequence[str]) -> tuple[Command, list[str]]:
    """Tell which command is meant, by the first word or else by the keys of the files.

    Args:
        words: Those behind ``qdgs doctor``, the command's name or an option first.

    Returns:
        The command, and the words without its name.

    Raises:
        ConfigError: A file cannot be read, no file is given, or the first word is no command.
    """
    if words and not words[0].startswith("-"):
        if words[0] not in get_args(Command):
            hint = did_you_mean(words[0], get_args(Command))
            raise ConfigError(
                f"'{words[0]}' is none of {', '.join(get_args(Command))}, whose configurations are "
                f"looked at{hint}: name one of them, or an option such as --config."
            )
        return cast(Command, words[0]), list(words[1:])
    files = [b for a, b in pairwise(words) if a in ("-c", "--config")]
    files += [word.partition("=")[2] for word in words if word.startswith("--config=")]
    if not files:
        raise ConfigError("There is nothing to look at: name a YAML file with --config.")
    for file in files:
        path = find_config(file)
        try:
            keys = read_yaml(path)
        except OSError as error:
            raise ConfigError(
                f"The configuration {path} cannot be read ({error.strerror}): check the path."
            ) from error
        if isinstance(keys, dict):
            if any(key in keys for key in _ONLY_FIT):
                return "fit", list(words)
            if any(key in keys for key in _ONLY_SEARCH):
                return "search", list(words)
    return "fit", list(words)


def make_plan(words: Sequence[str]) -> Plan:
    """Parse and build what `qdgs fit`, `test` or `search` would, with the same words behind it.

    Nothing is written, seeded or downloaded. A part that cannot be built becomes a finding.

    Args:
        words: Name of the command, which may be left out, and its options, ``--config`` among
            them.
    """
    try:
        command, options = command_of(words)
    except ConfigError as error:
        return Plan(command="fit", findings=[failure("configuration", error)])
    plan = Plan(command=command)
    try:
        if command == "search":
            _plan_search(plan, options)
        else:
            _plan_trainer(plan, options, named=len(options) < len(words))
    except Exception as error:  # parsing imports what the files name
        plan.findings.append(failure("configuration", error))
    return plan


def plan_of(cli: TrainerCLI) -> Plan:
    """Describe what a command has built and not begun.

    Args:
        cli: With its trainer, model and data; all that only look at a model are a test.
    """
    subcommand = str(cli.config["subcommand"])
    trainer: Trainer = cli.trainer
    plan = Plan(
        command="fit" if subcommand == "fit" else "test",
        settings=cli.config[subcommand]["trainer"].as_dict(),
        cli=cli,
        model=cli.model,
        data=cli.datamodule,
        callbacks=list(trainer.callbacks),  # type: ignore[attr-defined]
        loggers=list(trainer.loggers),
        trainer=trainer,
        built={"model", "data", "trainer"},
    )
    _add_search(plan)
    return plan


@contextmanager
def leaving_no_trace() -> Iterator[None]:
    """Give global sources of randomness, environment and settings back as they were.

    Within, nothing is downloaded, and libraries keep their remarks to themselves.
    """
    environment, offline = dict(os.environ), constants.HF_HUB_OFFLINE
    products = torch.get_float32_matmul_precision()
    python, legacy = random.getstate(), np.random.get_state()
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    try:
        constants.HF_HUB_OFFLINE = True
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with torch.random.fork_rng():
                yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        torch.set_float32_matmul_precision(products)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        random.setstate(python)
        np.random.set_state(legacy)
        os.environ.clear()
        os.environ.update(environment)


def _plan_trainer(plan: Plan, words: list[str], *, named: bool) -> None:
    """Fill in what a fit or a test consists of; options of both are parsed as those of a fit.

    Args:
        plan: To be filled in.
        words: Options of the command.
        named: Whether the command's name was given; if not, a fit that could train nothing becomes
            a test.
    """
    plan.cli = cli = UnrunCLI(["fit", *words])
    parsed = cli.config["fit"]
    torch.set_float32_matmul_precision(parsed["float32_matmul_precision"])  # what is timed, too
    plan.settings = parsed["trainer"].as_dict()
    built: dict[str, Any] = {}
    for part in ("model", "data", "trainer"):
        try:
            built[part] = cli.build(part)
        except Exception as error:  # of whatever class is named
            plan.findings.append(failure(part, error))
    plan.built = set(built)
    plan.model, plan.data = built.get("model"), built.get("data")
    if "trainer" in built:
        plan.settings = settings = dict(built["trainer"].__dict__)
        plan.callbacks = _listed(settings["callbacks"])
        plan.loggers = [lo for lo in _listed(settings["logger"]) if isinstance(lo, Logger)]
        _add_trainer(plan)
    said = ""
    if not named and _trains_nothing(parsed):
        plan.command = "test"
        said = ", since there is nothing to train (`qdgs doctor fit` looks at it as a fit)"
    _add_search(plan)
    if plan.model is not None and plan.data is not None:
        kinds = f"{type(plan.model).__name__} on {type(plan.data).__name__}"
        plan.findings.append(ok("configuration", f"a {plan.command} of {kinds}{said}"))


def _add_search(plan: Plan) -> None:
    """Fill in what a fit searches."""
    if plan.command == "test":  # searches and draws nothing to learn from
        plan.callbacks = [c for c in plan.callbacks if not isinstance(c, QDRefresh)]
    elif isinstance(plan.data, SyntheticDataModule):
        plan.generator, plan.guidance = plan.data.generator, plan.data.guidance
    if plan.refresh is not None:
        plan.search = plan.refresh.config


def _trains_nothing(parsed: Any) -> bool:  # noqa: ANN401 (a Namespace of jsonargparse)
    """Whether a configuration names neither images to learn from nor a head to learn with."""
    keys = ("data.init_args.train", "model.init_args.head")
    return all(key in parsed and parsed[key] is None for key in keys)


def _add_trainer(plan: Plan) -> None:
    """Make the trainer, without what writes."""
    # The last two would change settings of the whole process.
    silent = {"logger": False, "callbacks": [], "deterministic": None, "benchmark": None}
    try:
        plan.trainer = Trainer(**{**plan.settings, **silent})
    except Exception as error:  # Lightning's own, and those of plugins
        reason = " ".join(str(error).split()).rstrip(".")
        plan.findings.append(
            wrong(
                "devices",
                f"this machine cannot run with accelerator {plan.settings['accelerator']} and "
                f"devices {plan.settings['devices']} ({reason})",
                "set trainer.accelerator and trainer.devices, or look where the fit will run",
            )
        )


def _plan_search(plan: Plan, words: list[str]) -> None:
    """Fill in what a search consists of."""
    parser = function_parser(search_command, prog="qdgs search")
    parsed = parser.parse_args(words)
    torch.set_float32_matmul_precision(parsed["float32_matmul_precision"])
    plan.settings = {name: parsed[name] for name in ("evaluations", "accelerator", "devices")}
    plan.settings["output"] = Path(str(parsed["output"]))
    try:
        built = parser.instantiate(parsed)
    except Exception as error:  # of whatever class is named
        plan.findings.append(failure("configuration", error))
        return
    plan.generator, plan.guidance = built["generator"], built["guidance"]
    plan.search = built["search"]
    kinds = f"{type(plan.generator).__name__} under {type(plan.guidance).__name__}"
    plan.findings.append(ok("configuration", f"a search of {kinds}"))


def _listed(value: Any) -> list[Any]:  # noqa: ANN401 (one, many, or a switch)
    """Return what a setting holds as a list."""
    if value is None or isinstance(value, bool):
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
