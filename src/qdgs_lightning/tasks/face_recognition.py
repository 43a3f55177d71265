"""Learning embeddings of faces, in which images of one person lie close together."""

import math
import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, cast

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from rich.console import Console
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim import SGD, Optimizer

from qdgs_lightning.metrics.verification.accuracy import Protocol
from qdgs_lightning.models import (
    BackboneWeightsReport,
    ColorChoice,
    MarginHead,
    SampledHead,
    create_backbone,
    load_backbone_weights,
    names_ignored_by_ddp,
)
from qdgs_lightning.reporting.face_fairness import FairnessHistory, mean_accuracy
from qdgs_lightning.reporting.figures import roc_figure
from qdgs_lightning.reporting.loggers import log_csv, log_figure, log_file, run_folder
from qdgs_lightning.tasks.face_verification import FaceRecognitionError, FaceVerification
from qdgs_lightning.tasks.optimization import ScheduledModule, Undecayed, decay_groups, warmed_up
from qdgs_lightning.utils.atomic_files import replacing

FaceBatch = tuple[Tensor, Tensor]
Head = MarginHead | SampledHead
HeadFactory = Callable[[int, int], Head]
_BEGINNING = ("init_from", "init_entry", "color_order")  # of no use once a fit has begun
_PACKAGES = ("qdgs-lightning", "torch", "torchvision", "lightning", "timm", "numpy", "pillow")


class FaceRecognizer(ScheduledModule):
    """Trains a backbone under a margin head, and verifies pairs with the backbone alone.

    An embedding for measurement is the sum of those of an image and its mirror image, neither of
    them normalised, brought to length one, as insightface and AdaFace do it; pairs are judged by
    the squared distance. Logs ``train/loss``, and for each benchmark ``val/<name>``; ``val/mean``
    averages those that are no groups, or all where there are groups alone. Where benchmarks are
    groups, it logs ``val/<groups>/own/disparate_impact``, ``worst`` and ``mean`` as well, whose
    curves over epochs are drawn when the fit ends. A test prints and keeps a `FaceReport`, and logs
    the same under ``test/``.

    Args:
        backbone: A name that `create_backbone` knows, or a module that takes RGB images
            ``[n, 3, S, S]`` in [0, 1] to embeddings ``[n, d]`` and has an attribute
            ``embedding_dim``.
        head: Makes the head of embedding size and number of identities. Only training needs one.
        num_classes: Size of the head, at least the number of identities of the training set,
            which is the default; more leaves room for identities that come later.
        optimizer: Makes the optimizer of parameters.
        scheduler: Makes the scheduler of the optimizer.
        interval: Whether the scheduler is stepped after every ``epoch`` or ``step``.
        warmup: How long the learning rate rises, step by step, at the beginning; in `interval`. The
            length of an epoch must be known when the optimizer is made, before QDRefresh has an
            archive.
        undecayed: Which parameters the optimizer's weight decay spares; see `decay_groups`.
        init_from: A file to take the backbone's weights from; see `load_backbone_weights`. The head
            begins anew. A checkpoint that the trainer loads takes its place.
        init_entry: Which entry of that file to take, such as ``ema``, where several hold weights.
        color_order: What the network in that file takes, where it cannot be told; see
            `load_backbone_weights`.
        protocol: How accuracies are computed; see `verification_accuracy`.
        num_bootstrap: Replicates for the intervals of groups; 0 for none.
        eval_autocast: Whether measurement, too, runs in the trainer's precision; else in float32.
        channels_last: Whether images are laid out with channels last, which tensor cores want.
        compile: Whether the backbone is compiled.

    Raises:
        FaceRecognitionError: The data has no identities or images of another size than the
            backbone's, the head is too small for them, or the loss is not finite any more.
    """

    def __init__(
        self,
        *,
        backbone: str | nn.Module = "iresnet50",
        head: HeadFactory | None = None,
        num_classes: int | None = None,
        optimizer: OptimizerCallable = SGD,
        scheduler: LRSchedulerCallable | None = None,
        interval: Literal["epoch", "step"] = "epoch",
        warmup: float = 0,
        undecayed: Undecayed = "batch_norm",
        init_from: Path | None = None,
        init_entry: str | None = None,
        color_order: ColorChoice = "auto",
        protocol: Protocol = "insightface",
        num_bootstrap: int = 1000,
        eval_autocast: bool = False,
        channels_last: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__()
        # Modules and callables would be pickled into checkpoints, which are to load without.
        self.save_hyperparameters(
            ignore=["backbone", "head", "optimizer", "scheduler", *_BEGINNING], logger=False
        )
        self.backbone = create_backbone(backbone) if isinstance(backbone, str) else backbone
        self.head: Head | None = None
        self.make_head = head
        self.num_classes = num_classes
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.interval: Literal["epoch", "step"] = interval
        self.warmup = warmup
        self.undecayed: Undecayed = undecayed
        self.init_from = init_from
        self.init_entry = init_entry
        self.color_order: ColorChoice = color_order
        self.protocol: Protocol = protocol
        self.num_bootstrap = num_bootstrap
        self.eval_autocast = eval_autocast
        self.channels_last = channels_last
        self.compile_backbone = compile
        self.verification: FaceVerification | None = None
        self.fairness = FairnessHistory()
        self._has_begun = False

    def setup(self, stage: str) -> None:
        """Take over weights, and prepare a metric for every benchmark."""
        # Once: a test that follows a fit is of what the fit has made of these weights.
        if self.init_from is not None and not self._has_begun and not self.trainer.ckpt_path:
            found = self.load_initial_weights()
            if self.trainer.is_global_zero:
                Console().print(found.to_table())
        self._has_begun = True
        self.make_fast()
        if stage == "fit":
            self.fairness = FairnessHistory()
        if stage != "predict":
            data = self._data()
            self.verification = FaceVerification(
                data.benchmarks,
                groups=data.groups,
                merge=data.merge,
                protocol=self.protocol,
                num_bootstrap=self.num_bootstrap,
            )

    def load_initial_weights(self) -> BackboneWeightsReport:
        """Fill the backbone from the file of `init_from`, and say what was read.

        Raises:
            BackboneError: There is no such file, or it does not fit.
        """
        assert self.init_from is not None
        return load_backbone_weights(
            cast(Any, self.backbone),
            self.init_from,
            color_order=self.color_order,
            entry=self.init_entry,
        )

    def make_fast(self) -> None:
        """Lay out and compile the backbone, as it was asked for."""
        if self.channels_last:
            self.backbone.to(memory_format=torch.channels_last)
        if self.compile_backbone:
            self.backbone.compile()

    def configure_model(self) -> None:
        """Make the head, whose size the data decides."""
        if self.head is not None or self.trainer.state.fn != "fit":
            return
        identities = self._data().num_classes
        size = identities if self.num_classes is None else self.num_classes
        if size < identities:
            raise FaceRecognitionError(
                f"num_classes is {size}, but the training set has {identities} identities: raise "
                "or remove `model.init_args.num_classes`."
            )
        if self.make_head is None:
            raise FaceRecognitionError("Training needs a head: set `model.init_args.head`.")
        self.head = self.make_head(int(cast(Any, self.backbone).embedding_dim), size)
        self.head.prepare()
        self._ddp_params_and_buffers_to_ignore = names_ignored_by_ddp(self)

    def forward(self, images: Tensor) -> Tensor:
        """Embed RGB images ``[n, 3, S, S]`` in [0, 1]; returns ``[n, d]``, not normalised."""
        if self.channels_last:
            images = images.to(memory_format=torch.channels_last)
        return cast(Tensor, self.backbone(images))

    def embed(self, images: Tensor) -> Tensor:
        """Embed images and their mirror images together; returns ``[n, d]`` of length one."""
        precision = (
            nullcontext()
            if self.eval_autocast
            else torch.autocast(images.device.type, enabled=False)
        )
        with precision:
            fused = self(images) + self(images.flip(3))
        return F.normalize(fused.float())

    def training_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """Return the head's loss of a batch ``(images, identities)``.

        Raises:
            FaceRecognitionError: It is not finite; the batch is kept for inspection.
        """
        images, identities = batch
        assert self.head is not None
        embeddings = self(images)
        loss = self.head.loss(embeddings, identities)
        if not torch.isfinite(loss):
            path = self._keep(images=images, identities=identities, embeddings=embeddings)
            raise FaceRecognitionError(
                f"The loss is {float(loss)} at step {self.trainer.global_step}; the batch is kept "
                f"in {path}: lower the learning rate, clip gradients or change the precision."
            )
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: FaceBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Embed images of a benchmark, ``(images, places)``."""
        images, places = batch
        assert self.verification is not None
        self.verification.update(dataloader_idx, self.embed(images), places)

    def on_validation_epoch_end(self) -> None:
        """Log the accuracy of every benchmark, their mean, and the fairness of groups."""
        assert self.verification is not None
        partly = self.trainer.sanity_checking or self.trainer.fast_dev_run  # type: ignore[attr-defined]
        if self.verification.benchmarks and not partly:
            results = self.verification.results()
            found = {name: result.accuracy for name, result in results.items()}
            self.log_dict({f"val/{name}": a for name, a in found.items()}, sync_dist=True)
            fairness = self.verification.fairness(results)
            mean = mean_accuracy(found, [accuracies for accuracies, _ in fairness.values()])
            self.log("val/mean", mean, prog_bar=True, sync_dist=True)
            self._log_fairness(fairness)
        self.verification.reset()

    def on_fit_end(self) -> None:
        """Draw how the fairness of groups moved, if it was measured."""
        assert self.verification is not None
        step = self.trainer.global_step
        for name, figure in self.fairness.figures(self.verification.merge):
            log_figure(self.trainer, f"val/{name}/fairness", figure, step=step)

    def test_step(self, batch: FaceBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Embed images of a benchmark, ``(images, places)``."""
        self.validation_step(batch, batch_idx, dataloader_idx)

    def on_test_epoch_end(self) -> None:
        """Report the accuracy of every benchmark, and of groups the fairness."""
        assert self.verification is not None
        verification = self.verification
        if self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        results, distances = verification.results(), verification.distances()
        verification.reset()
        if not self.trainer.is_global_zero:
            return
        seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        report = verification.report(results, distances, about=self._about(seed), seed=seed)
        self.log_dict(
            {f"test/{name}": value for name, value in report.scalars().items()},
            rank_zero_only=True,
        )
        for table in report.tables():
            Console().print(table)
        # The trainer would print all again, once for each loader.
        self.trainer.test_loop.verbose = False
        step = self.trainer.global_step
        for path in report.write(run_folder(self.trainer)):
            log_file(self.trainer, path, kind=path.suffix[1:])
            if path.suffix == ".csv":
                log_csv(self.trainer, "test/benchmarks", path, step=step)
        for name, figure in report.bars():
            log_figure(self.trainer, f"test/{name}/groups", figure, step=step)
        curves = {
            name: (distances[name], pairs.is_same)
            for name, pairs in verification.benchmarks.items()
        }
        log_figure(self.trainer, "test/roc", roc_figure(curves), step=step)

    def predict_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """Embed images ``(images, places)``; returns ``[n, d]`` of length one."""
        return self.embed(batch[0])

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Make the optimizer and the schedules that were asked for."""
        optimizer = self.optimizer(decay_groups(self, self.undecayed))
        if isinstance(self.head, SampledHead):
            self.head.prepare_optimizer(optimizer)
        steps = self.warmup
        if self.interval == "epoch" and steps:
            steps *= self._steps_per_epoch()
        found = warmed_up(
            optimizer, self.scheduler, interval=self.interval, warmup_steps=round(steps)
        )
        return cast(OptimizerLRScheduler, found)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip all gradients, but not those of rows that other ranks do not have."""
        if gradient_clip_val and isinstance(self.head, SampledHead):
            if gradient_clip_algorithm == "value":
                clip_grad_value_(self.backbone.parameters(), gradient_clip_val)
            else:
                clip_grad_norm_(self.backbone.parameters(), gradient_clip_val)
            return
        self.clip_gradients(
            optimizer,
            gradient_clip_val=gradient_clip_val,
            gradient_clip_algorithm=gradient_clip_algorithm,
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the curves of groups, which a resumed run goes on with."""
        checkpoint["fairness"] = self.fairness.records

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out a head that is not needed, and refuse one of another size.

        Raises:
            FaceRecognitionError: The checkpoint's head is of another number of identities.
        """
        super().on_load_checkpoint(checkpoint)
        self.fairness.records = checkpoint.get("fairness", {})  # earlier versions kept none
        weights = checkpoint["state_dict"]
        if self.head is None:
            for key in [key for key in weights if key.startswith("head.")]:
                del weights[key]
            return
        found = weights.get("head.weight")
        if found is not None and len(found) != self.head.num_classes:
            raise FaceRecognitionError(
                f"The checkpoint's head is of {len(found)} identities and this one of "
                f"{self.head.num_classes}: give the checkpoint as `model.init_args.init_from` "
                "instead, which begins a new head."
            )

    def _steps_per_epoch(self) -> int:
        """Count the optimizer's steps in an epoch, for which the trainer opens the training set.

        Raises:
            FaceRecognitionError: It has no length.
        """
        self.trainer.fit_loop.setup_data()
        batches = self.trainer.num_training_batches
        if math.isinf(batches):
            raise FaceRecognitionError(
                f"A `warmup` of {self.warmup:g} epochs cannot be counted in steps, since the "
                "training set has no length: count it in steps, with `interval: step`."
            )
        return math.ceil(batches / self.trainer.accumulate_grad_batches)

    def _log_fairness(
        self, fairness: Mapping[str, tuple[dict[str, float], dict[str, float]]]
    ) -> None:
        """Log the fairness of groups, and note it if this is a fit."""
        for name, (accuracies, scalars) in fairness.items():
            values = {f"val/{name}/own/{key}": value for key, value in scalars.items()}
            self.log_dict(values, sync_dist=True)
            if self.trainer.state.fn == "fit":
                batches = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready
                share = batches / self.trainer.num_training_batches
                epoch = self.trainer.current_epoch + share
                self.fairness.add(
                    name, {"epoch": epoch, "accuracies": accuracies, "scalars": scalars}
                )

    def _about(self, seed: int) -> dict[str, object]:
        """Name what the numbers of a test depend on."""
        return {
            "flip": "sum of the embeddings of an image and its mirror image",
            "color_order": "rgb",
            "precision": self.trainer.precision if self.eval_autocast else "32-true",
            "seed": seed,
            "checkpoint": self.trainer.ckpt_path,
            "init_from": self.init_from,
            "backbone": type(self.backbone).__name__,
            "versions": {name: version(name) for name in _PACKAGES},
        }

    def _keep(self, **tensors: Tensor) -> Path:
        """Keep tensors of a step in the run folder."""
        name = f"not_finite_step{self.trainer.global_step:07d}_rank{self.global_rank}.safetensors"
        path = run_folder(self.trainer) / name
        with replacing(path) as unfinished:
            save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, unfinished)
        return path

    def _data(self) -> Any:  # noqa: ANN401 (a FaceDataModule, which tasks do not import)
        """The datamodule.

        Raises:
            FaceRecognitionError: It has no faces, or those of a size that the backbone does not
                take, which is told before a search is spent on them.
        """
        data: Any = getattr(self.trainer, "datamodule", None)
        if not all(hasattr(data, name) for name in ("benchmarks", "groups", "merge")):
            raise FaceRecognitionError(
                "FaceRecognizer needs data with identities and benchmarks: use FaceDataModule or "
                "SyntheticFaceDataModule."
            )
        size, wanted = data.image_size, getattr(self.backbone, "image_size", None)
        if wanted not in (None, size):
            raise FaceRecognitionError(
                f"The data are brought to {size} pixels and the backbone takes {wanted}: set "
                "`data.init_args.image_size` and that of the backbone to one number."
            )
        trained = getattr(data, "train_size", None)
        if wanted is not None and trained not in (None, (wanted, wanted)):
            raise FaceRecognitionError(
                f"The training images are {trained[1]} x {trained[0]} pixels and the backbone "
                f"takes {wanted}: resize them by `qdgs data pack --size {wanted}`, or build the "
                "backbone with another image_size."
            )
        return data
