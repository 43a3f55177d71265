"""The shapes experiment: biased images first, and then what is to make up for the bias."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

from torch import Tensor
from torch.utils.data import DataLoader

from qdgs_lightning.datamodules.synthetic import LatentBatch, SyntheticDataModule
from qdgs_lightning.datasets.checks import DataModuleError, check_reload
from qdgs_lightning.domains.shapes.dataset import ShapesDataset, check_bias
from qdgs_lightning.domains.shapes.renderer import GROUPS
from qdgs_lightning.generators import Generator
from qdgs_lightning.guidance import Guidance
from qdgs_lightning.sampling import Sampler
from qdgs_lightning.utils.seeding import HELD_OUT, seeded_generator

SecondPhase = Literal["real", "pool", "oracle"]

ShapesItem = tuple[Tensor, int, int]
ShapesBatch = tuple[Tensor, Tensor, Tensor]
ShapesLoader = DataLoader[ShapesItem] | DataLoader[LatentBatch]


class ShapesDataModule(SyntheticDataModule):
    """Red and blue triangles and squares, in two phases of one fit.

    For `real_epochs` epochs the training set is a fixed one of biased renders. What follows is said
    by `second_phase`: ``real`` goes on with that set; ``pool`` draws `samples_per_epoch` synthetic
    images per epoch, labelled by the guidance; ``oracle`` has as many unbiased renders, which
    nobody has in practice and which shows what the training budget can give at best. Every arm
    takes equally many steps.

    Validation (500 images) and test set (5,000) are unbiased and the same for all seeds. The
    validation set is for looking only: nothing is selected by it.

    Batches are ``(images [n, 3, 128, 128] in [0, 1], shape [n], colour [n])``.

    Args:
        bias: Share of triangles that are red, and of squares that are blue, in the training set.
        second_phase: What is learnt from after `real_epochs`.
        real_epochs: Epochs of the first phase.
        samples_per_epoch: Images per epoch, in both phases.
        batch_size: Images per step and rank.
        generator: Draws synthetic images, for ``pool`` only.
        guidance: Judges them.
        sampler: Chooses them; its bins are those of shape and of colour, in this order.
        seed: Seed of the training sets and of everything drawn.
        candidates_file: Keeps the sampler's evaluated candidates for fits that share them, such
            as those of other biases.

    Raises:
        QDGSError: A number is out of its range.
    """

    def __init__(
        self,
        *,
        bias: float = 0.98,
        second_phase: SecondPhase = "real",
        real_epochs: int = 20,
        samples_per_epoch: int = 1000,
        batch_size: int = 16,
        generator: Generator | None = None,
        guidance: Guidance | None = None,
        sampler: Sampler | None = None,
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
        check_bias(bias)
        if real_epochs < 0:
            raise DataModuleError(f"real_epochs is {real_epochs}; give 0 or more.")
        self.bias = bias
        self.second_phase = second_phase
        self.real_epochs = real_epochs
        self._sets: dict[str, ShapesDataset] = {}

    def setup(self, stage: str) -> None:
        """Render nothing yet, but find out now what would fail after the first phase.

        Raises:
            DataModuleError: Synthetic images are asked for without the parts to make them, or the
                trainer would not change the data between epochs.
        """
        if stage != "fit":
            return
        check_reload(self.trainer)
        if self.second_phase == "pool":
            self.prepare_synthesis()
            self.check_labels()

    @property
    def first_synthetic_epoch(self) -> int | None:
        """First epoch that draws synthetic images; None where none ever does."""
        return self.real_epochs if self.second_phase == "pool" else None

    def check_labels(self) -> None:
        """Check that the sampler's bins are shape and colour.

        Raises:
            DataModuleError: They are others.
        """
        bins = [] if self.sampler is None else self.sampler.joint.bins
        if [len(bin_.intervals) for bin_ in bins] != [2, 2]:
            raise DataModuleError(
                "The second phase 'pool' needs `data.init_args.sampler` with two bins of two "
                "intervals each, of shape and of colour, in this order."
            )

    def train_dataloader(self) -> ShapesLoader:
        """Load what the trainer's epoch is to learn from.

        Raises:
            DataModuleError: Later epochs will want an archive that nothing provides.
        """
        assert self.trainer is not None
        epoch = self.trainer.current_epoch
        if self.second_phase == "pool":
            self.check_archive()
        if epoch < self.real_epochs or self.second_phase == "real":
            return self._renders("biased", shuffle_epoch=epoch)
        if self.second_phase == "oracle":
            return self._renders("unbiased", shuffle_epoch=epoch)
        return self.synthetic_dataloader()

    def val_dataloader(self) -> DataLoader[ShapesItem]:
        """Load 500 unbiased images."""
        return self._renders("val")

    def test_dataloader(self) -> DataLoader[ShapesItem]:
        """Load 5,000 unbiased images."""
        return self._renders("test")

    def on_after_batch_transfer(self, batch: object, dataloader_idx: int) -> object:
        """Draw synthetic images, and bring rendered ones from bytes to [0, 1]."""
        if isinstance(batch, LatentBatch):
            return super().on_after_batch_transfer(batch, dataloader_idx)
        images, shapes, colours = cast(ShapesBatch, batch)
        return images.float() / 255, shapes, colours

    def label_names(self, labels: Sequence[Tensor]) -> list[str]:
        """Name the group of each image, by its shape ``[n]`` and colour ``[n]``."""
        shapes, colours = labels
        return [GROUPS[group] for group in (2 * shapes + colours).tolist()]

    def _renders(self, name: str, *, shuffle_epoch: int | None = None) -> DataLoader[ShapesItem]:
        """Load one of the rendered sets, in an order of the epoch's own if there is an epoch."""
        if name not in self._sets:
            n, bias, seed = {
                "biased": (self.samples_per_epoch, self.bias, 2 * self.seed),
                "unbiased": (self.samples_per_epoch, 0.5, 2 * self.seed + 1),
                # Beyond every seed of a training set.
                "val": (500, 0.5, HELD_OUT),
                "test": (5000, 0.5, HELD_OUT + 1),
            }[name]
            self._sets[name] = ShapesDataset(n, bias=bias, seed=seed)
        if shuffle_epoch is None:
            return DataLoader(self._sets[name], batch_size=250)
        return DataLoader(
            self._sets[name],
            batch_size=self.batch_size,
            shuffle=True,
            generator=seeded_generator(self.seed, 2, shuffle_epoch),
        )
