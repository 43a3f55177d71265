"""Faces: identities to learn from, and pairs of images to be tested on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from qdgs_lightning.datamodules.checks import DataModuleError, check_positive, check_reload
from qdgs_lightning.datamodules.face_augmentation import FaceAugmentation
from qdgs_lightning.datamodules.synthetic import LatentBatch, SyntheticDataModule
from qdgs_lightning.datasets import (
    NamedImages,
    VerificationPairs,
    load_benchmarks,
    open_face_dataset,
    open_named_images,
)
from qdgs_lightning.generators import Generator
from qdgs_lightning.guidance import Guidance
from qdgs_lightning.sampling import Sampler, seeded_generator

FaceItem = tuple[Tensor, int]
FaceBatch = tuple[Tensor, Tensor]


class FaceImages(Protocol):
    """A dataset of ``(uint8 RGB [3, H, W], identity)``."""

    num_classes: int

    def __len__(self) -> int:
        """How many images there are."""

    def __getitem__(self, index: int) -> FaceItem:
        """One of them."""


class FaceDataModule(SyntheticDataModule):
    """Face crops of identities to train on, and verification benchmarks.

    Training images come from files, ``train``, or else from a generator: then a new pool is drawn
    in every epoch, and the class of an image is the joint bin of the sampler that it lies in.

    Batches to train on are ``(images [n, 3, S, S] in [0, 1], identities [n])``, altered on the
    device; to be tested on, ``(images, places in the benchmark [n])``. The order of an epoch and
    its alterations follow from seed, rank, epoch and batch alone, so that a resumed run goes on as
    it would have.

    Args:
        train: A folder with ``train.rec`` or of folders, one for each identity.
        benchmarks: The folder that holds the benchmarks; see `load_benchmarks`.
        validate_on: Names of those to look at while training.
        test_on: Names of those to test on; all are reported, and what is missing is named once.
        groups: Benchmarks that are groups of one population, by its name; those of RFW if left out.
        merge: Groups to average in addition, by name, such as those of dark and light skin.
        predict: What `qdgs predict` embeds; see `open_named_images`.
        augmentation: Alters training images; `FaceAugmentation` if left out.
        batch_size: Training images per step and rank; an incomplete last batch is left out.
        eval_batch_size: Images per step and rank of any other loader.
        num_workers: Processes that decode, for each rank and loader.
        prefetch_factor: Batches that each of them has ready.
        pin_memory: Whether batches wait in pinned memory; where None, if there is a GPU.
        on_bad_record: What to do about a training image that cannot be read: ``raise`` or ``skip``.
        generator: Draws synthetic training images.
        guidance: Judges them.
        sampler: Chooses them.
        samples_per_epoch: Synthetic images per epoch, over all ranks.
        image_size: Side to which benchmarks and synthetic images are brought.
        seed: Of orders, alterations and everything drawn.
        candidates_file: See `SyntheticDataModule`.

    Raises:
        DataModuleError: A number is out of its range, or both kinds of training set are given.
    """

    def __init__(
        self,
        *,
        train: Path | None = None,
        benchmarks: Path | None = None,
        validate_on: Sequence[str] = (),
        test_on: Sequence[str] = ("lfw", "cfp_fp", "cplfw", "calfw", "agedb_30", "rfw"),
        groups: dict[str, list[str]] | None = None,
        merge: dict[str, list[str]] | None = None,
        predict: Path | None = None,
        augmentation: FaceAugmentation | None = None,
        batch_size: int = 64,
        eval_batch_size: int = 256,
        num_workers: int = 4,
        prefetch_factor: int = 2,
        pin_memory: bool | None = None,
        on_bad_record: Literal["raise", "skip"] = "raise",
        generator: Generator | None = None,
        guidance: Guidance | None = None,
        sampler: Sampler | None = None,
        samples_per_epoch: int = 50_000,
        image_size: int = 112,
        seed: int = 0,
        candidates_file: Path | None = None,
    ) -> None:
        super().__init__(
            generator=generator,
            guidance=guidance,
            sampler=sampler,
            samples_per_epoch=samples_per_epoch,
            batch_size=batch_size,
            seed=seed,
            candidates_file=candidates_file,
        )
        check_positive(
            eval_batch_size=eval_batch_size,
            prefetch_factor=prefetch_factor,
            image_size=image_size,
        )
        if num_workers < 0:
            raise DataModuleError(f"num_workers is {num_workers}; give 0 or more.")
        if train is not None and sampler is not None:
            raise DataModuleError(
                "Both `train` and `sampler` say where training images come from; give one of them."
            )
        self.train_path = train
        self.benchmark_root = benchmarks
        self.validate_on, self.test_on = tuple(validate_on), tuple(test_on)
        self.chosen_groups = groups
        self.merge: dict[str, list[str]] = merge or {}
        self.predict_path = predict
        self.augmentation = FaceAugmentation() if augmentation is None else augmentation
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.prefetch_factor = prefetch_factor
        self.pin_memory = pin_memory
        self.on_bad_record = on_bad_record
        self.image_size = image_size
        self.benchmarks: dict[str, VerificationPairs] = {}
        self.predict_images: NamedImages | None = None
        self._images: FaceImages | None = None

    @property
    def num_classes(self) -> int:
        """How many identities the training set has.

        Raises:
            DataModuleError: There is none.
        """
        if self._images is not None:
            return self._images.num_classes
        if self.sampler is not None:
            return len(self.sampler.joint.names)
        raise DataModuleError(
            "There is nothing to train on: set `data.init_args.train`, or generator, guidance and "
            "sampler."
        )

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

    def setup(self, stage: str) -> None:
        """Open the files that a stage needs.

        Raises:
            QDGSError: One of them is damaged.
            DataModuleError: The settings leave nothing to do.
        """
        if stage == "predict":
            if self.predict_path is None:
                raise DataModuleError("Nothing to embed: set `data.init_args.predict`.")
            self.predict_images = open_named_images(self.predict_path, image_size=self.image_size)
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
        if stage != "fit" and not self.benchmarks:
            raise DataModuleError(
                f"None of {', '.join(names) or 'no benchmarks'} is in {self.benchmark_root}: set "
                "`data.init_args.benchmarks` to the folder that holds them."
            )
        if stage != "fit":
            return
        if self.train_path is not None and self._images is None:
            self._images = open_face_dataset(self.train_path, on_bad_record=self.on_bad_record)
        elif self.sampler is not None:
            check_reload(self.trainer)
            self.prepare_synthesis()
        if self.num_classes < 2:
            raise DataModuleError(f"{self.train_path} holds a single identity; two are needed.")

    def train_dataloader(self) -> DataLoader[FaceItem] | DataLoader[LatentBatch]:
        """Load the training set in the order of the epoch.

        Raises:
            DataModuleError: It is smaller than one batch.
        """
        if self._images is None:
            self.check_archive()
            return self.synthetic_dataloader()
        assert self.trainer is not None
        dataset = cast(Dataset[FaceItem], self._images)
        rank, world = self.trainer.global_rank, self.trainer.world_size
        if len(self._images) < self.batch_size * world:
            raise DataModuleError(
                f"{self.train_path} has {len(self._images)} images, too few for a batch of "
                f"{self.batch_size} on {world} rank(s): lower `data.init_args.batch_size`."
            )
        # The trainer tells it the epoch.
        order: DistributedSampler[FaceItem] = DistributedSampler(
            dataset, num_replicas=world, rank=rank, shuffle=True, seed=self.seed, drop_last=True
        )
        return self._loader(dataset, self.batch_size, sampler=order, drop_last=True)

    def val_dataloader(self) -> list[DataLoader[FaceItem]]:
        """Load the images of every benchmark in `validate_on` that there is."""
        return [self._loader(pairs, self.eval_batch_size) for pairs in self.benchmarks.values()]

    def test_dataloader(self) -> list[DataLoader[FaceItem]]:
        """Load the images of every benchmark in `test_on` that there is."""
        return self.val_dataloader()

    def predict_dataloader(self) -> DataLoader[FaceItem]:
        """Load the images to embed."""
        dataset = cast(Dataset[FaceItem], self.predict_images)
        return self._loader(dataset, self.eval_batch_size)

    def on_after_batch_transfer(self, batch: object, dataloader_idx: int) -> object:
        """Bring images to [0, 1], and alter those to train on."""
        trainer = self.trainer
        assert trainer is not None
        if isinstance(batch, LatentBatch):
            assert self.sampler is not None
            images, *labels = cast(tuple[Tensor, ...], super().on_after_batch_transfer(batch, 0))
            classes = self.sampler.joint.index(torch.stack(labels, dim=1))
            size = (self.image_size, self.image_size)
            if images.shape[-2:] != size:
                images = F.interpolate(images, size, mode="bilinear", antialias=True)
        else:
            images, classes = cast(FaceBatch, batch)
            images = images.float() / 255
        if trainer.training:
            # Of the batch and not of what came before, so that a resumed run goes on alike.
            batch_idx = trainer.fit_loop.batch_idx + 1  # it counts those behind
            random = seeded_generator(
                self.seed, 3, trainer.global_rank, trainer.current_epoch, batch_idx
            )
            images = self.augmentation(images, generator=random)
        return images, classes

    def _loader(
        self,
        dataset: Dataset[FaceItem],
        batch_size: int,
        *,
        sampler: DistributedSampler[FaceItem] | None = None,
        drop_last: bool = False,
    ) -> DataLoader[FaceItem]:
        """Load a dataset as the settings say."""
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            drop_last=drop_last,
            num_workers=self.num_workers,
            prefetch_factor=self.prefetch_factor if self.num_workers else None,
            persistent_workers=self.num_workers > 0 and sampler is not None,
            pin_memory=on_gpu if self.pin_memory is None else self.pin_memory,
        )
