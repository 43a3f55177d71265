"""What all data of faces have: benchmarks to be tested on, and alterations to train under."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from lightning.pytorch import Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from qdgs_lightning.datamodules.face_augmentation import FaceAugmentation
from qdgs_lightning.datasets import (
    NamedImages,
    VerificationPairs,
    load_benchmarks,
    open_named_images,
)
from qdgs_lightning.datasets.checks import DataModuleError, check_positive
from qdgs_lightning.datasets.resumable_loading import ResumableLoader, ResumableSampler
from qdgs_lightning.datasets.verification.benchmarks import spelt_out
from qdgs_lightning.datasets.verification.folds import (
    NUM_FOLDS,
    unmixed_folds,
    why_no_accuracy,
)
from qdgs_lightning.errors import did_you_mean
from qdgs_lightning.utils.seeding import seeded_generator

FaceItem = tuple[Tensor, int]
FaceBatch = tuple[Tensor, Tensor]


class FaceBenchmarks:
    """The part of a datamodule of faces that does not depend on where training images come from.

    A base class beside `LightningDataModule`, and before it. Batches of its loaders are ``(images
    [n, 3, S, S] in [0, 1], places in the benchmark [n])``.

    Args:
        benchmarks: The folder that holds the benchmarks; see `load_benchmarks`.
        validate_on: Names of those to look at while training.
        test_on: Names of those to test on; all are reported, and what is missing is named once.
        groups: Benchmarks that are groups of one population, by its name; those of RFW if left out.
        merge: Groups to average in addition, by name, such as those of dark and light skin; each of
            one population, in which there are two or more. What lacks a benchmark is named once.
        predict: What `qdgs predict` embeds; see `open_named_images`.
        augmentation: Alters training images; `FaceAugmentation` if left out.
        eval_batch_size: Images per step and rank of any loader but that of training.
        num_workers: Processes that decode, for each rank and loader.
        prefetch_factor: Batches that each of them has ready.
        pin_memory: Whether batches wait in pinned memory; where None, if there is a GPU.
        image_size: Side to which images are brought.
        seed: Of alterations.

    Raises:
        DataModuleError: A number is out of its range, or `merge` cannot be made of `groups`.
    """

    trainer: Trainer | None

    def __init__(
        self,
        *,
        benchmarks: Path | None,
        validate_on: Sequence[str],
        test_on: Sequence[str],
        groups: dict[str, list[str]] | None,
        merge: dict[str, list[str]] | None,
        predict: Path | None,
        augmentation: FaceAugmentation | None,
        eval_batch_size: int,
        num_workers: int,
        prefetch_factor: int,
        pin_memory: bool | None,
        image_size: int,
        seed: int,
    ) -> None:
        check_positive(
            eval_batch_size=eval_batch_size,
            prefetch_factor=prefetch_factor,
            image_size=image_size,
        )
        if num_workers < 0:
            raise DataModuleError(f"num_workers is {num_workers}; give 0 or more.")
        self.benchmark_root = benchmarks
        self.validate_on, self.test_on = tuple(validate_on), tuple(test_on)
        self.chosen_groups = groups
        self.merge: dict[str, list[str]] = merge or {}
        self._check_merge()
        self.predict_path = predict
        self.augmentation = FaceAugmentation() if augmentation is None else augmentation
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.prefetch_factor = prefetch_factor
        self.pin_memory = pin_memory
        self.image_size = image_size
        self.seed = seed
        self.benchmarks: dict[str, VerificationPairs] = {}
        self.predict_images: NamedImages | None = None
        self._opened = ""

    @property
    def groups(self) -> dict[str, list[str]]:
        """Benchmarks that are groups of one population, as far as they are there."""
        groups: Mapping[str, Sequence[str]] = (
            {"rfw": [name for name in self.benchmarks if name.startswith("rfw_")]}
            if self.chosen_groups is None
            else self.chosen_groups
        )
        return {
            name: [member for member in members if member in self.benchmarks]
            for name, members in groups.items()
        }

    def open_benchmarks(self, stage: str) -> None:
        """Open what a stage looks at: benchmarks, or the images to embed; once.

        Raises:
            QDGSError: A file is damaged.
            DataModuleError: The settings leave nothing to do.
        """
        if stage == self._opened:
            return
        if stage == "predict":
            if self.predict_path is None:
                raise DataModuleError("Nothing to embed: set `data.init_args.predict`.")
            self.predict_images = open_named_images(self.predict_path, image_size=self.image_size)
            self._opened = stage
            return
        names = self.test_on if stage == "test" else self.validate_on
        if names and self.benchmark_root is None:
            raise DataModuleError(
                f"Nothing says where {', '.join(names)} are: set `data.init_args.benchmarks` to "
                "the folder that holds them."
            )
        self.benchmarks = {}
        if self.benchmark_root is not None:
            self.benchmarks = load_benchmarks(
                self.benchmark_root, names, image_size=self.image_size
            )
            self._check_folds()
            self._warn_of_unmerged(names)
        if stage != "fit" and not self.benchmarks:
            raise DataModuleError(
                f"None of {', '.join(names) or 'no benchmarks'} is in {self.benchmark_root}: set "
                "`data.init_args.benchmarks` to the folder that holds them."
            )
        self._opened = stage

    def _check_folds(self) -> None:
        """Refuse benchmarks that have no accuracy, and warn of those whose accuracy means little.

        Raises:
            DataModuleError: One has too few pairs, or pairs of one kind only.
        """
        for name, pairs in self.benchmarks.items():
            if reason := why_no_accuracy(pairs.is_same):
                raise DataModuleError(
                    f"The benchmark {name} in {self.benchmark_root} has no accuracy ({reason}): "
                    "take it out of `data.init_args.validate_on` and `test_on`, or bring more "
                    "pairs."
                )
            if unmixed := unmixed_folds(pairs.is_same):
                warnings.warn(
                    f"{unmixed} of the {NUM_FOLDS} folds of {name} hold pairs of one kind only, so "
                    "that its accuracy means little: mix pairs of one person and of two.",
                    stacklevel=3,
                )

    def _check_merge(self) -> None:
        """Refuse merged groups that no test could compare, whatever benchmarks there are.

        Raises:
            DataModuleError: See above.
        """
        populations = self.chosen_groups
        if populations is None:
            own = (name for name in (*self.validate_on, *self.test_on) if name.startswith("rfw_"))
            populations = {"rfw": list(dict.fromkeys((*spelt_out(["rfw"]), *own)))}
        known = [member for members in populations.values() for member in members]
        for name, members in self.merge.items():
            if not members or len(set(members)) < len(members):
                raise DataModuleError(
                    f"The merged group '{name}' is of {members}: give one group or more, each "
                    "once, in `data.init_args.merge`."
                )
            for member in members:
                if member not in known:
                    raise DataModuleError(
                        f"The merged group '{name}' has '{member}', which is in none of `groups`"
                        f"{did_you_mean(member, known)}: give some of {', '.join(known)} in "
                        "`data.init_args.merge`."
                    )
        compared: set[str] = set()
        for groups in populations.values():
            sides = [side for side in self.merge if set(self.merge[side]) <= set(groups)]
            compared |= set(sides) if len(sides) > 1 else set()
        if alone := [name for name in self.merge if name not in compared]:
            raise DataModuleError(
                f"The merged group '{alone[0]}' has nothing to be compared with: give two or more "
                "of one population of `groups` in `data.init_args.merge`."
            )

    def _warn_of_unmerged(self, names: Sequence[str]) -> None:
        """Name merged groups that were asked for and lack a benchmark."""
        absent = set(spelt_out(names)) - set(self.benchmarks)
        lacking = {
            name: ", ".join(member for member in members if member in absent)
            for name, members in self.merge.items()
            if absent & set(members)
        }
        if lacking:
            told = "; ".join(f"'{name}' lacks {members}" for name, members in lacking.items())
            warnings.warn(
                f"These merged groups are left out, and comparisons with them: {told}.",
                stacklevel=2,
            )

    def val_dataloader(self) -> list[DataLoader[FaceItem]]:
        """Load the images of every benchmark in `validate_on` that there is."""
        return [
            self.image_loader(pairs, self.eval_batch_size) for pairs in self.benchmarks.values()
        ]

    def test_dataloader(self) -> list[DataLoader[FaceItem]]:
        """Load the images of every benchmark in `test_on` that there is."""
        return self.val_dataloader()

    def predict_dataloader(self) -> DataLoader[FaceItem]:
        """Load the images to embed."""
        dataset = cast(Dataset[FaceItem], self.predict_images)
        return self.image_loader(dataset, self.eval_batch_size)

    def on_after_batch_transfer(self, batch: object, dataloader_idx: int) -> object:
        """Bring images to [0, 1], and alter those to train on."""
        images, classes = cast(FaceBatch, batch)
        images = images.float() / 255
        trainer = self.trainer
        assert trainer is not None
        if trainer.training:
            # Of the batch and not of what came before, so that a resumed run goes on alike.
            batch_idx = trainer.fit_loop.batch_idx + 1  # it counts those behind
            random = seeded_generator(
                self.seed, 3, trainer.global_rank, trainer.current_epoch, batch_idx
            )
            images = self.augmentation(images, generator=random)
        return images, classes

    def label_names(self, labels: Sequence[Tensor]) -> list[str]:
        """Name the identity of each training image, by its class ``[n]``."""
        (classes,) = labels
        return [f"identity {number}" for number in classes.tolist()]

    def image_loader(
        self,
        dataset: Dataset[FaceItem],
        batch_size: int,
        *,
        sampler: ResumableSampler[FaceItem] | None = None,
        drop_last: bool = False,
    ) -> DataLoader[FaceItem]:
        """Load a dataset of images as the settings say; to be trained on, with a sampler."""
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        loader = DataLoader if sampler is None else ResumableLoader
        return loader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            drop_last=drop_last,
            num_workers=self.num_workers,
            prefetch_factor=self.prefetch_factor if self.num_workers else None,
            persistent_workers=self.num_workers > 0 and sampler is not None,
            pin_memory=on_gpu if self.pin_memory is None else self.pin_memory,
        )
