"""What `qdgs fit`, `validate`, `test` and `predict` do beyond LightningCLI."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter, ModelCheckpoint
from lightning.pytorch.cli import (
    ArgsType,
    LightningArgumentParser,
    LightningCLI,
    SaveConfigCallback,
)
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.model_helpers import is_overridden

from qdgs_lightning import __version__
from qdgs_lightning.callbacks import ConfiguredRates, EmbeddingWriter
from qdgs_lightning.errors import ConfigError
from qdgs_lightning.parsing.parser import Parser
from qdgs_lightning.parsing.saved_configs import folder_note
from qdgs_lightning.reporting.loggers import (
    finish_wandb,
    keep_wandb_offline_without_key,
    limit_wandb_finish,
    log_file,
    place_run,
    run_folder,
    wandb_record,
)
from qdgs_lightning.reporting.wandb_runs import (
    describe_run,
    forget_run,
    keep_wandb_below,
    make_portable,
    quieten_wandb,
    save_dir_of_wandb,
)
from qdgs_lightning.tasks import FaceRecognizer
from qdgs_lightning.trainer.interruptions import (
    Interrupted,
    by_interruption,
    listening_again,
    of_fit,
    of_look,
    terminate_left_to_slurm,
)
from qdgs_lightning.trainer.run_folders import (
    free_folder,
    placed,
    read_record,
    run_of,
    write_record,
)
from qdgs_lightning.utils.atomic_files import replacing
from qdgs_lightning.utils.checkpoint_io import keep_checkpoints_whole, mismatch, read_checkpoint
from qdgs_lightning.utils.precision import MatmulPrecision
from qdgs_lightning.utils.remarks import without_remarks

Preflight = Callable[["TrainerCLI", str], None]
_CONVERTING = ("16-true", "bf16-true", "64-true", "64", 64)
_RESUMABLE = ("last", "hpc")  # names by which Lightning finds a checkpoint of the folder of a fit


class SaveRunConfig(SaveConfigCallback):
    """Keeps the whole configuration with the run that it made.

    It goes to ``config.yaml`` in the run folder, or to ``config-1.yaml`` and so on where a run
    goes on in a folder that has one: no file is ever replaced. Its first lines say which git
    revision the folder had that the command was started in, the version of the package, and that
    folder, in which relative paths are found from any other. W&B
    gets the configuration nested as it is, and finds the revision by itself.
    """

    path = Path("config.yaml")
    """Where the configuration of this run is, once it is written."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write and upload the configuration; Lightning calls this on rank zero alone."""
        folder = run_folder(trainer)
        folder.mkdir(parents=True, exist_ok=True)
        path = self.path = _unused(folder / "config.yaml")
        with replacing(path) as unfinished:
            text = self.parser.dump(self.config, skip_unset=False)
            version, _, rest = text.partition("\n")
            note = folder_note(folder)
            unfinished.write_text(f"# {_revision()}\n{version}\n{note}\n{rest}")
        command = trainer.state.fn.value if trainer.state.fn is not None else stage
        checkpoint = self.config.get("ckpt_path")
        nested = json.loads(self.parser.dump(self.config, format="json", skip_unset=False))
        nested = {**nested, "command": command, "run_folder": str(folder)}
        joined = read_record(run_of(checkpoint)).get("wandb_id") if command != "fit" else None
        wandb_id = None
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                run, wandb_id = logger.experiment, logger.experiment.id
                make_portable(run)
                # The configuration of a joined run is that of its fit.
                about = {"run_folder": str(folder), "checkpoint": str(checkpoint)}
                known = {command: about} if joined == wandb_id else nested
                run.config.update(known, allow_val_change=True)
        write_record(
            folder,
            command=command,
            checkpoint=None if checkpoint is None else str(checkpoint),
            experiment=experiment_of(folder, checkpoint),
            wandb_id=wandb_id,
        )
        log_file(trainer, path, kind="config")


class TrainerParser(Parser, LightningArgumentParser):
    """A parser of ours that also takes Lightning's classes."""


class TrainerCLI(LightningCLI):
    """LightningCLI with configurations that can be trusted.

    Args:
        args: The command and its options; those of the process where None.
        preflight: Called with this command and the name of its subcommand when all parts are built
            and before a logger opens a run or makes its folder; raises what stands in the way.
    """

    def __init__(
        self, args: Sequence[str] | None = None, *, preflight: Preflight | None = None
    ) -> None:
        self.words = sys.argv[1:] if args is None else list(args)
        self._preflight = preflight
        try:
            self._run(args)
        except BaseException:
            finish_wandb(exit_code=1)  # W&B itself would do so at exit, and say nothing
            raise
        else:
            self._end_wandb_run()
        finally:
            forget_run()

    def _end_wandb_run(self) -> None:
        """Wait for W&B, which Ctrl-C ends.

        Raises:
            Interrupted: By Ctrl-C.
        """
        record = wandb_record()
        try:
            finish_wandb()
        except KeyboardInterrupt as error:
            raise Interrupted(
                f"the run is whole on this disk, but not at W&B: send it by `wandb sync {record}`"
            ) from error

    def _run(self, args: Sequence[str] | None) -> None:
        """Parse, build and run, without the remarks of other libraries."""
        with without_remarks():
            super().__init__(
                LightningModule,
                LightningDataModule,
                save_config_callback=SaveRunConfig,
                save_config_kwargs={"save_to_log_dir": False},
                # W&B would get the modules' hyper-parameters, flattened and merged, beside it.
                # Lightning would take every GPU that there is, and with it a larger batch, and
                # start this command once more for each.
                trainer_defaults={"enable_autolog_hparams": False, "devices": 1},
                seed_everything_default=0,
                parser_class=TrainerParser,
                parser_kwargs={"prog": "qdgs"},
                subclass_mode_model=True,
                subclass_mode_data=True,
                auto_configure_optimizers=False,
                args=None if args is None else list(args),
            )

    def init_parser(self, **kwargs: Any) -> TrainerParser:
        """Take no abbreviations for options, and head saved configurations with our version."""
        header = [f"qdgs-lightning {__version__}"]
        parser = super().init_parser(**kwargs, allow_abbrev=False, dump_header=header)
        assert isinstance(parser, TrainerParser)
        return parser

    def _prepare_subcommand_parser(
        self, klass: type, subcommand: str, **kwargs: Any
    ) -> LightningArgumentParser:
        """Let callbacks write predictions as they come, instead of gathering all in memory."""
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "predict":
            parser.set_defaults(return_predictions=False)
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse without Lightning's warning of callers like `shapes_demo`, which are no mistake."""
        assert args is None or isinstance(args, list)  # __init__ hands nothing else on
        self.config = parser.parse_args(args)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Offer what is no part of any class."""
        parser.add_argument(
            "--float32_matmul_precision",
            type=MatmulPrecision,
            default="highest",
            help="How exact products of float32 matrices are; high allows TF32.",
        )

    def before_instantiate_classes(self) -> None:
        """Settle how torch multiplies, and how W&B runs before a logger is made.

        Raises:
            ConfigError: The trainer would fail on its settings, after a search perhaps.
        """
        settings = self.config[self.config.subcommand]
        if settings.trainer.precision in _CONVERTING:
            raise ConfigError(
                f"trainer.precision is {settings.trainer.precision}, which converts the network "
                "and not the images: give 32-true, 16-mixed or bf16-mixed."
            )
        if settings.trainer.check_val_every_n_epoch == 0:
            raise ConfigError(
                "trainer.check_val_every_n_epoch is 0: give 1 or more, or null to count steps."
            )
        torch.set_float32_matmul_precision(settings.float32_matmul_precision)
        keep_wandb_offline_without_key()
        limit_wandb_finish()
        quieten_wandb(settings.trainer.logger)
        if (folder := save_dir_of_wandb(self._placed_trainer().logger)) is not None:
            keep_wandb_below(folder)

    def _placed_trainer(self) -> Namespace:
        """Return the settings of the trainer, which writes below the run that it looks at."""
        command = str(self.config.subcommand)
        trainer: Namespace = self.config[command].trainer.clone()
        if command != "fit":
            run = run_of(self.config[command].get("ckpt_path"))
            trainer.logger = placed(trainer.logger, run, command)
            if run is not None:  # for Lightning's own choice of a logger
                trainer.default_root_dir = str(run)
        return trainer

    def instantiate_classes(self) -> None:
        """Build everything; what looks at a fit writes into the folder of the fit."""
        command, whole = str(self.config.subcommand), self.config
        if command == "fit":
            super().instantiate_classes()
            return
        run = run_of(whole[command].get("ckpt_path"))
        trainer = self._placed_trainer()
        self.config = whole.clone()
        self.config[command].trainer = trainer
        if whole[command].get("ckpt_path") is not None:
            _without_init_from(self.config[command])
        try:
            super().instantiate_classes()
        finally:
            self.config = whole
        for callback in self._callbacks:
            if isinstance(callback, SaveRunConfig):
                callback.config = whole[command]  # which the folder of another run is not part of
        if run is not None:
            place_run(self.trainer, free_folder(run, command))

    @property
    def _callbacks(self) -> list[Callback]:
        """The trainer's."""
        callbacks: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        return callbacks

    def __deepcopy__(self, memo: dict[int, Any]) -> "TrainerCLI":
        """Stay one: an injected optimizer refers to the command, and averaging copies the task.

        The copy would take the loggers along, and W&B's begins a run when it is copied.
        """
        return self

    def _run_subcommand(self, subcommand: str) -> None:
        """Say what is measured and where its report lies, and what a checkpoint is not of.

        Raises:
            CheckpointMismatchError: The weights of ``ckpt_path`` are another model's.
        """
        path = self.config[subcommand].get("ckpt_path")
        if subcommand != "fit" and path is None:
            self._name_weights()
        if subcommand == "predict":
            self._refuse_nothing_to_predict()
        if self._preflight is not None:
            self._preflight(self, subcommand)
        self._name_wandb_run(subcommand)
        try:
            with self._saying_what_is_kept(subcommand):
                super()._run_subcommand(subcommand)
        except RuntimeError as error:
            # Only Lightning and the task's own hooks know what they accept.
            if path is not None and (found := mismatch(path, error)) is not None:
                raise found from error
            raise
        trial = self.trainer.fast_dev_run  # type: ignore[attr-defined]
        if subcommand != "fit" and self.trainer.is_global_zero and not trial:
            print(f"Run folder: {run_folder(self.trainer)}")

    def _name_wandb_run(self, subcommand: str) -> None:
        """Let W&B know what belongs together, and what looks at a fit go on in the run of the fit.

        A test is then a point at the end of the fit's curves, at the step of its checkpoint, and
        each experiment one row of W&B's table.
        """
        path = self.config[subcommand].get("ckpt_path")
        joined = read_record(run_of(path)).get("wandb_id") if subcommand != "fit" else None
        if joined is not None:
            describe_run(self.trainer.loggers, id=joined)
        else:
            group = experiment_of(run_folder(self.trainer), path)
            parts = (self.model, self.datamodule, getattr(self.datamodule, "sampler", None))
            tags = [type(part).__name__ for part in parts if part is not None]
            describe_run(self.trainer.loggers, group=group, job_type=subcommand, tags=tags)
        if subcommand != "fit" and path is not None and "://" not in path:
            loops = read_checkpoint(Path(path)).get("loops", {})
            if "fit_loop" in loops:  # so that metrics are logged at its step and epoch
                self.trainer.fit_loop.load_state_dict(loops["fit_loop"])

    @contextmanager
    def _saying_what_is_kept(self, subcommand: str) -> Iterator[None]:
        """Say after Ctrl-C or SIGTERM what is kept, and how to go on.

        Raises:
            Interrupted: In place of Lightning's `SystemExit`, whose status would be 1.
        """
        try:
            with listening_again(), terminate_left_to_slurm():
                yield
        except (KeyboardInterrupt, SystemExit) as error:
            if not by_interruption(error):
                raise
            words, folder = self.words[1:], run_folder(self.trainer)
            if subcommand == "fit":
                told = of_fit(folder, newest_checkpoint(self.trainer), words)
            else:
                told = of_look(subcommand, folder, words)
            raise Interrupted(told) from error

    def _name_weights(self) -> None:
        """Say which weights are measured where no checkpoint brings them."""
        # Other tasks read their `init_from` in a fit alone.
        if isinstance(self.model, FaceRecognizer) and self.model.init_from is not None:
            rank_zero_info(
                f"No --ckpt_path: these are the weights of `init_from`, {self.model.init_from}"
            )
            return
        rank_zero_warn(
            "No checkpoint was given: these are the weights that the configuration makes, "
            "untrained unless the network itself brings trained ones. For what a fit has made, add "
            "--ckpt_path RUN/checkpoints/last.ckpt."
        )

    def _refuse_nothing_to_predict(self) -> None:
        """Refuse data without images to predict, before a logger makes its folder.

        Raises:
            ConfigError: They have none.
        """
        sources = self.datamodule, self.model
        if not any(is_overridden("predict_dataloader", each) for each in sources):
            raise ConfigError(
                f"{type(self.datamodule).__name__} has nothing to predict: `qdgs predict` embeds "
                "faces, by FaceRecognizer on FaceDataModule or SyntheticFaceDataModule."
            )

    def before_predict(self) -> None:
        """Let embeddings be written unless the configuration says what writes predictions."""
        writes = any(isinstance(each, BasePredictionWriter) for each in self._callbacks)
        if isinstance(self.model, FaceRecognizer) and not writes:
            self._callbacks.append(EmbeddingWriter())

    def before_fit(self) -> None:
        """Write checkpoints whole or not at all, and none in a trial run; resume as configured.

        Lightning saves the last one even then.
        """
        keep_checkpoints_whole(self.trainer)
        self._callbacks.append(ConfiguredRates())
        if self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            for callback in self.trainer.checkpoint_callbacks:
                if isinstance(callback, ModelCheckpoint):
                    callback.save_last = None

    def after_fit(self) -> None:
        """Say where everything lies, and what to type next."""
        folder, checkpoint = run_folder(self.trainer), newest_checkpoint(self.trainer)
        trial = self.trainer.fast_dev_run  # type: ignore[attr-defined]
        if self.trainer.is_global_zero and checkpoint and not trial:
            (kept,) = (each for each in self._callbacks if isinstance(each, SaveRunConfig))
            print(
                f"Run folder: {folder}\nTest it: qdgs test --config {kept.path} "
                f"--ckpt_path {checkpoint}"
            )

    def _parse_ckpt_path(self) -> None:
        """Let a checkpoint bring weights only: what to build is the configuration's to say.

        Lightning would silently put the checkpoint's hyper-parameters over those of the command.
        """
        command = self.config.subcommand
        path = self.config[command].get("ckpt_path")
        if path is None or "://" in path or (command == "fit" and path in _RESUMABLE):
            return
        read_checkpoint(Path(path))


def _without_init_from(settings: Namespace) -> None:
    """Let a checkpoint bring all weights; the file that its fit began with may be gone."""
    arguments = settings.model.get("init_args")
    if arguments is not None and "init_from" in arguments:
        arguments["init_from"] = None


def newest_checkpoint(trainer: Trainer) -> Path | None:
    """Find what a fit has saved: its last state if that was kept, else its best.

    Args:
        trainer: A trainer after ``fit``.

    Returns:
        The checkpoint file, or None if nothing was saved.
    """
    callback = trainer.checkpoint_callback
    if not isinstance(callback, ModelCheckpoint):
        return None
    path = callback.last_model_path or callback.best_model_path
    return Path(os.path.relpath(path)) if path else None


def experiment_of(folder: Path, checkpoint: str | None) -> str:
    """Name the experiment that a run is part of: the first of the runs that go on from another.

    Args:
        folder: Of the run.
        checkpoint: The one that it begins with.

    Returns:
        The last two parts of that run's folder, such as ``shapes_qd/version_0``.
    """
    run = run_of(checkpoint)
    named = (run or folder).absolute()
    return str(read_record(run).get("experiment") or f"{named.parent.name}/{named.name}")


def _revision() -> str:
    """Name the git revision of the current folder, and whether files differ from it."""
    words = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        found = subprocess.run(words, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "started in no git folder"
    return f"git revision {found.stdout.strip()}"


def _unused(path: Path) -> Path:
    """The path itself, or the first free one among ``stem-1.suffix``, ``stem-2.suffix`` ..."""
    number = 0
    free = path
    while os.path.lexists(free):
        number += 1
        free = path.with_stem(f"{path.stem}-{number}")
    return free
