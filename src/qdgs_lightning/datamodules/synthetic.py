"""Training on images that a generator draws while the classifier learns."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from qdgs_lightning.datasets.checks import DataModuleError, check_positive
from qdgs_lightning.generators import Generator
from qdgs_lightning.guidance import Guidance
from qdgs_lightning.sampling import (
    Candidates,
    Pool,
    PoolReport,
    Sampler,
    read_candidates,
    write_candidates,
)
from qdgs_lightning.sampling.pool import in_measures
from qdgs_lightning.search import Archive
from qdgs_lightning.search.processes import first_alone
from qdgs_lightning.utils.seeding import check_seed, seeded_generator


class LatentBatch(NamedTuple):
    """What a loader of synthetic data yields, before the images are drawn.

    Attributes:
        latents: Shape ``[n, *latent_shape]``.
        labels: Label along every binned measure, int64, shape ``[n, m]``.
    """

    latents: Tensor
    labels: Tensor


class PoolDataset(Dataset[LatentBatch]):
    """The rows of a pool, one latent each."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def __len__(self) -> int:
        return len(self.pool)

    def __getitem__(self, index: int) -> LatentBatch:
        return LatentBatch(self.pool.latents[index], self.pool.labels[index])


class SyntheticDataModule(LightningDataModule):
    """A generator, its judge and a sampler, and every epoch a new pool drawn with them.

    Loaders carry latents, which are small; the images are drawn on the device of each rank when
    the batch has arrived there. The base class of one datamodule per domain, whose
    ``train_dataloader`` calls `synthetic_dataloader` in the epochs that are to be synthetic.

    Args:
        generator: Draws the images.
        guidance: Judges them, for their labels.
        sampler: Chooses latents.
        samples_per_epoch: Images per epoch, over all ranks.
        batch_size: Images per step and rank.
        seed: Seed of everything that is drawn.
        candidates_file: Keeps the evaluated candidates, which fits that differ in nothing that
            decides them take from there.

    Raises:
        DataModuleError: A number is out of its range.
    """

    def __init__(
        self,
        *,
        generator: Generator | None,
        guidance: Guidance | None,
        sampler: Sampler | None,
        samples_per_epoch: int,
        batch_size: int,
        seed: int,
        candidates_file: Path | None = None,
    ) -> None:
        super().__init__()
        check_positive(samples_per_epoch=samples_per_epoch, batch_size=batch_size)
        check_seed(seed)
        self.candidates_file = candidates_file
        self.generator = generator
        self.guidance = guidance
        self.sampler = sampler
        self.samples_per_epoch = samples_per_epoch
        self.batch_size = batch_size
        self.seed = seed
        self._archive: Archive | None = None
        self._candidates: Candidates | None = None

    @property
    def first_synthetic_epoch(self) -> int | None:
        """First epoch that draws synthetic images; None where none ever does."""
        return 0

    def check_labels(self) -> None:
        """Check that the sampler's bins are the labels of this domain.

        Raises:
            DataModuleError: They are others.
        """

    def set_archive(self, archive: Archive) -> None:
        """Draw from this archive from the next epoch on.

        Args:
            archive: The elites, the same on every rank.
        """
        self._archive = archive
        self._candidates = None

    def check_archive(self) -> None:
        """Make sure that a sampler that needs an archive has one.

        Raises:
            DataModuleError: It has none.
        """
        if self.sampler is not None and self.sampler.needs_archive and self._archive is None:
            raise DataModuleError(
                f"{type(self.sampler).__name__} draws from an archive, and there is none: add the "
                "QDRefresh callback to `trainer.callbacks`; if it is there, count `warmup` in "
                "steps, since it fills the archive when the fit starts."
            )

    def prepare_synthesis(self) -> tuple[Generator, Guidance]:
        """Load the generator and its judge and move them to this rank's device.

        Returns:
            Both, ready for use.

        Raises:
            DataModuleError: One of them is not set.
            SamplingError: The sampler's bins are of measures that the guidance has not.
        """
        if self.generator is None or self.guidance is None:
            raise DataModuleError(
                "Synthetic images need a generator and guidance: set `data.init_args.generator` "
                "and `data.init_args.guidance`."
            )
        if self.sampler is not None:
            # Here, since labels come to it only when a search is over.
            self.sampler.joint.check(len(self.guidance.measure_names))
        self.generator.prepare()
        self.guidance.prepare()
        if self.trainer is not None:
            device = self.trainer.strategy.root_device
            self.generator.to(device)
            self.guidance.to(device)
        return self.generator, self.guidance

    def candidates(self) -> Candidates:
        """Evaluate what the sampler draws from, once per archive; collective over ranks.

        Returns:
            The latents that passed the sampler's tests, the same on every rank.

        Raises:
            DataModuleError: There is no sampler, generator or guidance.
            SamplingError: Nothing passed, or there is no archive to draw from.
        """
        if self._candidates is None:
            if self.sampler is None:
                raise DataModuleError(
                    "Synthetic images need a sampler: set `data.init_args.sampler`."
                )
            self._candidates = self._kept_candidates() or self._new_candidates(self.sampler)
        return self._candidates

    def _origin(self) -> dict[str, object]:
        """Name all that decides what the candidates are."""
        assert self.sampler is not None
        generator, guidance = self.prepare_synthesis()
        elites = b"" if self._archive is None else self._archive.latents.numpy().tobytes()
        return {
            "generator": generator.fingerprint(),
            "guidance": guidance.describe(),
            "sampler": self.sampler.describe(),
            "archive": hashlib.sha256(elites).hexdigest(),
            "seed": self.seed,
        }

    def _kept_candidates(self) -> Candidates | None:
        """Read candidates of the same origin, if every rank finds them."""
        if self.candidates_file is None:
            return None
        kept = read_candidates(self.candidates_file, origin=self._origin())
        everywhere = kept is not None
        if self.trainer is not None:
            # A rank that found none would wait for the others to evaluate with it.
            everywhere = self.trainer.strategy.reduce_boolean_decision(everywhere, all=True)
        return kept if everywhere else None

    def _new_candidates(self, sampler: Sampler) -> Candidates:
        """Evaluate candidates, and keep them if there is a file for it."""
        generator, guidance = self.prepare_synthesis()
        candidates = sampler.candidates(
            generator,
            guidance,
            random=seeded_generator(self.seed, 0),
            archive=self._archive,
        )
        if (path := self.candidates_file) is not None:
            origin = self._origin()
            first_alone(lambda: write_candidates(path, candidates, origin=origin))
        return candidates

    def pool(self, epoch: int, *, rank: int = 0, world: int = 1) -> Pool:
        """Draw one rank's pool for one epoch; equal arguments give the same pool.

        Args:
            epoch: Index of the epoch.
            rank: Index of this process.
            world: Number of processes; their pools have no latent in common.

        Returns:
            ``samples_per_epoch / world`` latents, rounded up.
        """
        candidates = self.candidates()
        assert self.sampler is not None
        return self.sampler.draw(
            candidates,
            -(-self.samples_per_epoch // world),
            random=seeded_generator(self.seed, 1, rank, epoch),
            rank=rank,
            world=world,
        )

    def synthetic_dataloader(self) -> DataLoader[LatentBatch]:
        """Load a new pool for the trainer's epoch, and report it when its candidates are new."""
        assert self.trainer is not None
        is_new = self._candidates is None
        rank, world = self.trainer.global_rank, self.trainer.world_size
        pool = self.pool(self.trainer.current_epoch, rank=rank, world=world)
        if is_new:
            self._report(pool.report)
        dataset = PoolDataset(pool)
        # Each rank drew its own pool; told so, Lightning does not divide it once more.
        order: DistributedSampler[LatentBatch] = DistributedSampler(
            dataset, num_replicas=1, rank=0, shuffle=False
        )
        return DataLoader(dataset, batch_size=self.batch_size, sampler=order)

    def on_after_batch_transfer(self, batch: object, dataloader_idx: int) -> object:
        """Draw the images of a synthetic batch; others pass.

        Args:
            batch: A `LatentBatch`, or whatever another loader yields.
            dataloader_idx: Not looked at.

        Returns:
            ``(images [n, 3, S, S] in [0, 1], labels [n], ...)``, one vector of labels per binned
            measure.
        """
        if not isinstance(batch, LatentBatch):
            return batch
        assert self.generator is not None
        with torch.no_grad():
            images = self.generator(batch.latents)
        return images, *batch.labels.unbind(1)

    def _report(self, report: PoolReport) -> None:
        """Tell people and loggers where the images come from."""
        assert self.trainer is not None
        rank_zero_info(str(report))
        if report.empty_bins:
            rank_zero_warn(
                f"Nothing to draw for {', '.join(report.empty_bins)}{in_measures(report.prompts)}."
            )
        for logger in self.trainer.loggers:
            logger.log_metrics(report.metrics(), step=self.trainer.global_step)
