"""Faces from files: identities to learn from, and pairs of images to be tested on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from qdgs_lightning.datamodules.face_augmentation import FaceAugmentation
from qdgs_lightning.datamodules.face_benchmarks import FaceBenchmarks, FaceItem
from qdgs_lightning.datasets import open_face_dataset
from qdgs_lightning.datasets.checks import DataModuleError, check_positive
from qdgs_lightning.datasets.face_images import FaceImages
from qdgs_lightning.datasets.resumable_loading import ResumableSampler
from qdgs_lightning.utils.seeding import check_seed

_NOTHING = (
    "There is nothing to train on: set `data.init_args.train`, or take SyntheticFaceDataModule for "
    "images of a generator."
)


class FaceDataModule(FaceBenchmarks, LightningDataModule):
    """Face crops of identities to train on, from files, and verification benchmarks.

    Batches to train on are ``(images [n, 3, S, S] in [0, 1], identities [n])``, altered on the
    device; to be tested on, ``(images, places in the benchmark [n])``. The order of an epoch and
    its alterations follow from seed, rank, epoch and batch alone, so that a resumed run goes on as
    it would have, from within an epoch as well.

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
        image_size: Side to which benchmarks are brought.
        seed: Of orders and alterations.

    Raises:
        DataModuleError: A number is out of its range.
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
        image_size: int = 112,
        seed: int = 0,
    ) -> None:
        LightningDataModule.__init__(self)
        check_positive(batch_size=batch_size)
        check_seed(seed)
        FaceBenchmarks.__init__(
            self,
            benchmarks=benchmarks,
            validate_on=validate_on,
            test_on=test_on,
            groups=groups,
            merge=merge,
            predict=predict,
            augmentation=augmentation,
            eval_batch_size=eval_batch_size,
            num_workers=num_workers,
            prefetch_factor=prefetch_factor,
            pin_memory=pin_memory,
            image_size=image_size,
            seed=seed,
        )
        self.train_path = train
        self.batch_size = batch_size
        self.on_bad_record = on_bad_record
        self._images: FaceImages | None = None

    @property
    def train_size(self) -> tuple[int, int] | None:
        """Height and width of the training images; None where no file says so."""
        return None if self._images is None else self._images.size

    @property
    def num_classes(self) -> int:
        """How many identities the training set has.

        Raises:
            DataModuleError: There is none.
        """
        if self._images is None:
            raise DataModuleError(_NOTHING)
        return self._images.num_classes

    def setup(self, stage: str) -> None:
        """Open the files that a stage needs.

        Raises:
            QDGSError: One of them is damaged.
            DataModuleError: The settings leave nothing to do.
        """
        self.open_benchmarks(stage)
        if stage != "fit":
            return
        if self.open_images().num_classes < 2:
            raise DataModuleError(f"{self.train_path} holds a single identity; two are needed.")

    def open_images(self) -> FaceImages:
        """Open the training set, once, and return it.

        Raises:
            QDGSError: It is damaged.
            DataModuleError: There is none.
        """
        if self._images is None:
            if self.train_path is None:
                raise DataModuleError(_NOTHING)
            images = open_face_dataset(self.train_path, on_bad_record=self.on_bad_record)
            images.check(prefer=self.image_size)
            self._images = images
        return self._images

    def train_dataloader(self) -> DataLoader[FaceItem]:
        """Load the training set in the order of the epoch.

        Raises:
            DataModuleError: It is smaller than one batch.
        """
        assert self.trainer is not None
        assert self._images is not None
        dataset = self._images
        rank, world = self.trainer.global_rank, self.trainer.world_size
        if len(dataset) < self.batch_size * world:
            raise DataModuleError(
                f"{self.train_path} has {len(dataset)} images, too few for a batch of "
                f"{self.batch_size} on {world} rank(s): lower `data.init_args.batch_size`."
            )
        order = ResumableSampler(
            dataset,
            trainer=self.trainer,
            batch_size=self.batch_size,
            num_replicas=world,
            rank=rank,
            shuffle=True,
            seed=self.seed,
            drop_last=True,
        )
        return self.image_loader(dataset, self.batch_size, sampler=order, drop_last=True)
