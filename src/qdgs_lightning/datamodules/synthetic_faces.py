"""Faces of a generator: identities out of an archive or a prior, drawn while a model trains."""

import json
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader

from qdgs_lightning.datamodules.face_augmentation import FaceAugmentation
from qdgs_lightning.datamodules.face_benchmarks import FaceBenchmarks
from qdgs_lightning.datamodules.synthetic import SyntheticDataModule
from qdgs_lightning.datasets.checks import DataModuleError, check_positive, check_reload
from qdgs_lightning.generators import Generator
from qdgs_lightning.guidance import Guidance
from qdgs_lightning.identities import IdentityEdits, IdentityRegistry, IdentityReport, IdentityTable
from qdgs_lightning.identities.candidates import Grouping, group_latents
from qdgs_lightning.identities.drawer import (
    Align,
    FaceDrawer,
    ImageRows,
    compare_precisions,
    epoch_loader,
    precision_of,
)
from qdgs_lightning.identities.image_cache import ImageCache, check_ranks
from qdgs_lightning.sampling import Sampler
from qdgs_lightning.search import Archive
from qdgs_lightning.search.evaluation import device_of
from qdgs_lightning.utils.precision import Precision
from qdgs_lightning.utils.seeding import seeded_generator

Cache = Literal["none", "device", "host"]


class SyntheticFaceDataModule(FaceBenchmarks, SyntheticDataModule):
    """Identities made of latents, several images of each, and verification benchmarks.

    Latents of the sampler are grouped by `latents_per_identity` within its coarse bins, nearest
    ones first, and each is drawn once for every edit, which leaves the identity as it is; so does
    the QDGS publication (Chang et al., AAAI-24), with two latents and nine edits. Identities are
    shared out evenly over bins, by the sampler's `proportions`, or as the candidates are where it
    does not balance them. Too few latents for `proportions` are an error unless it may
    `renormalise`; else a warning names the bins that fall short. An identity never changes its
    class, neither when the archive is refreshed nor in a resumed run; see `IdentityRegistry`.
    Refreshes need classes in reserve.

    Batches to train on are ``(images [n, 3, S, S] in [0, 1], classes [n])``, altered on the device;
    to be tested on, ``(images, places in the benchmark [n])``. Loaders carry numbers alone: image
    ``r * edits + e`` is latent r of `identities` under edit e. Images are rounded to 8 bits,
    whether or not they are cached.

    An epoch shows every image once, except for an incomplete last batch. At place p of its order
    is an image whose number is p modulo 64, the images of each residue being shuffled by seed and
    epoch. Rank r of w takes places r, r + w, r + 2w and so on. The order thus does not depend on
    the number of ranks, and where that divides 64, a rank always shows the same 1/w of the images.

    Args:
        generator: Draws the images.
        guidance: Judges them, for the bins that they lie in.
        sampler: Chooses latents; its bins are the coarse ones that no identity leaves.
        identities: How many are drawn in an epoch.
        latents_per_identity: Latents of each; with k-means, on average.
        edits: Changes of a latent, one for each image of it; None for one image as it is.
        grouping: ``neighbours``, see `group_by_neighbours`; or ``kmeans`` as published, whose time
            grows with the square of the latents and whose identities differ in size.
        slots: Classes that are reserved; half as many again as `identities` by default.
        align: ``ffhq`` crops images of FFHQ-aligned faces as recognisers want them; see
            `FaceAligner`. ``ffhq_unchecked`` does so even where nothing in the generator's file
            says FFHQ. ``none`` leaves them whole.
        image_size: Side of images, of benchmarks as well.
        draw_precision: Of a StyleGAN2 while it draws what is trained on, ``float32``, ``bfloat16``
            or ``float16``, whatever the trainer's; by default that of the generator, in which
            latents are judged in any case. See `FaceDrawer` for what halves change.
        cache: Where images are kept once they are drawn: on the ``device``, on the ``host``, or
            not at all, ``none``. 50,000 images of 112 pixels take 1.9 GB.
        batch_size: Images per step and rank.
        seed: Of everything that is drawn, of orders and alterations.
        candidates_file: See `SyntheticDataModule`.
        benchmarks: The folder that holds the benchmarks; see `load_benchmarks`.
        validate_on: Names of those to look at while training.
        test_on: Names of those to test on; all are reported, and what is missing is named once.
        groups: Benchmarks that are groups of one population, by its name; those of RFW if left out.
        merge: Groups to average in addition, by name, such as those of dark and light skin.
        predict: What `qdgs predict` embeds; see `open_named_images`.
        augmentation: Alters training images.
        eval_batch_size: Images per step and rank of any other loader.
        num_workers: Processes that decode, for each rank and loader.
        prefetch_factor: Batches that each of them has ready.
        pin_memory: Whether batches wait in pinned memory; where None, if there is a GPU.

    Raises:
        DataModuleError: A number or name is out of its range.

    Example:
        >>> data = SyntheticFaceDataModule(generator=..., guidance=..., sampler=..., identities=100)
        >>> data.set_archive(Archive.load("runs/faces_qd50/archive.safetensors"))
        >>> data.identities().classes[:4]
        tensor([0, 0, 1, 1])
        >>> data.render(torch.arange(data.num_images)[:8]).shape
        torch.Size([8, 3, 112, 112])
    """

    def __init__(
        self,
        *,
        generator: Generator | None = None,
        guidance: Guidance | None = None,
        sampler: Sampler | None = None,
        identities: int = 2778,
        latents_per_identity: int = 2,
        edits: IdentityEdits | None = None,
        grouping: Grouping = "neighbours",
        slots: int | None = None,
        align: Align = "ffhq",
        image_size: int = 112,
        draw_precision: Precision | None = None,
        cache: Cache = "none",
        batch_size: int = 64,
        seed: int = 0,
        candidates_file: Path | None = None,
        benchmarks: Path | None = None,
        validate_on: Sequence[str] = (),
        test_on: Sequence[str] = ("lfw", "cfp_fp", "cplfw", "calfw", "agedb_30", "rfw"),
        groups: dict[str, list[str]] | None = None,
        merge: dict[str, list[str]] | None = None,
        predict: Path | None = None,
        augmentation: FaceAugmentation | None = None,
        eval_batch_size: int = 256,
        num_workers: int = 4,
        prefetch_factor: int = 2,
        pin_memory: bool | None = None,
    ) -> None:
        check_positive(identities=identities, latents_per_identity=latents_per_identity)
        SyntheticDataModule.__init__(
            self,
            generator=generator,
            guidance=guidance,
            sampler=sampler,
            samples_per_epoch=identities * latents_per_identity,
            batch_size=batch_size,
            seed=seed,
            candidates_file=candidates_file,
        )
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
        for name, value, known in (
            ("grouping", grouping, get_args(Grouping)),
            ("align", align, get_args(Align)),
            ("cache", cache, get_args(Cache)),
        ):
            if value not in known:
                raise DataModuleError(f"{name} is {value!r}; give one of {', '.join(known)}.")
        self.num_identities = identities
        self.latents_per_identity = latents_per_identity
        self.edits = edits
        self.grouping = grouping
        self.slots = identities + identities // 2 if slots is None else slots
        if self.slots < max(2, identities):
            raise DataModuleError(
                f"slots is {self.slots}, too few classes for {identities} identities: give at "
                f"least {max(2, identities)}, and more for refreshes."
            )
        self.align = align
        self.draw_precision = draw_precision
        self.cache = cache
        self._registry: IdentityRegistry | None = None
        self._restored: dict[str, Any] | None = None
        self._is_grouped = False
        self._warned_of_slots = False
        self._drawer: FaceDrawer | None = None
        self._images: ImageCache | None = None

    @property
    def num_classes(self) -> int:
        """How many classes are reserved."""
        return self.slots

    @property
    def num_images(self) -> int:
        """How many images there are: latents times edits."""
        registry, drawer = self._grouped()
        return len(registry.rows) * drawer.num_edits

    def set_archive(self, archive: Archive) -> None:
        """Make identities of this archive, the same on every rank, from the next epoch on."""
        super().set_archive(archive)
        self._is_grouped = False

    def setup(self, stage: str) -> None:
        """Open benchmarks and, to train, load what draws.

        Raises:
            QDGSError: A file is damaged.
            DataModuleError: The settings leave nothing to do, contradict each other, or the trainer
                would not change the data between epochs.
        """
        self.open_benchmarks(stage)
        if stage == "fit":
            check_reload(self.trainer)
            self.prepare_synthesis()
            # The device and the number of ranks are those of this trainer.
            self._is_grouped = False
            self._images = None

    def prepare_synthesis(self) -> tuple[Generator, Guidance]:
        """Load the generator, its judge and the edits; see `SyntheticDataModule`.

        Raises:
            QDGSError: Something is not set, or does not fit the rest or the device.
        """
        generator, guidance = super().prepare_synthesis()
        if self._drawer is None:
            self._drawer = FaceDrawer(
                generator,
                edits=self.edits,
                align=self.align,
                image_size=self.image_size,
                precision=self.draw_precision,
            )
        return generator, guidance

    def identities(self) -> IdentityTable:
        """Return the identities in use, on the CPU; collective over ranks where they must be made.

        Raises:
            QDGSError: There is nothing to make them of, or nothing to make them with.
        """
        return self._grouped()[0].table()

    def render(self, rows: Tensor) -> Tensor:
        """Draw images as they are trained on, before alterations; the cache is not looked at.

        Args:
            rows: Numbers of images, int64, shape ``[n]``, each below `num_images`.

        Returns:
            RGB in [0, 1], multiples of 1/255, shape ``[n, 3, image_size, image_size]``, on the
            generator's device.
        """
        _, drawer = self._grouped()
        parts = torch.split(rows.cpu(), self.batch_size)
        return torch.cat([drawer.draw(part) for part in parts]).float() / 255

    def train_dataloader(self) -> DataLoader[ImageRows]:
        """Load the images of the trainer's epoch, as numbers.

        Raises:
            DataModuleError: There are fewer than one batch of them, or the number of ranks does not
                go with a cache.
        """
        assert self.trainer is not None
        self.check_archive()
        rank, world = self.trainer.global_rank, self.trainer.world_size
        if self.cache != "none":
            check_ranks(world)
        registry, drawer = self._grouped()
        if self.cache != "none":
            if self._images is None:
                device = drawer.device if self.cache == "device" else torch.device("cpu")
                self._images = ImageCache(
                    side=self.image_size, device=device, rank=rank, world=world
                )
            self._images.renew(registry.rows, edits=drawer.num_edits)
        random = seeded_generator(self.seed, 5, self.trainer.current_epoch)
        return epoch_loader(
            self.num_images, batch_size=self.batch_size, random=random, trainer=self.trainer
        )

    def transfer_batch_to_device(
        self,
        batch: Any,  # noqa: ANN401 (of any loader)
        device: torch.device,
        dataloader_idx: int,
    ) -> object:
        """Leave numbers of images on the CPU, where the cache is asked for them."""
        if isinstance(batch, ImageRows):
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def on_after_batch_transfer(self, batch: object, dataloader_idx: int) -> object:
        """Draw images or take them from the cache; then as with images of files."""
        if isinstance(batch, ImageRows):
            drawer = self._drawer
            assert drawer is not None
            if self._images is None:
                images = drawer.draw(batch.rows)
            else:
                images = self._images.get(batch.rows, drawer.draw).to(drawer.device)
            batch = (images, drawer.classes(batch.rows))
        return FaceBenchmarks.on_after_batch_transfer(self, batch, dataloader_idx)

    def state_dict(self) -> dict[str, Any]:
        """Return which identity has which class, and how it is drawn, for checkpoints."""
        if self._registry is None:
            return {}
        drawn_in = precision_of(self.generator, self.draw_precision)
        return {"identities": self._registry.state_dict(), "draw_precision": drawn_in}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the identities of a checkpoint."""
        drawn_in = precision_of(self.generator, self.draw_precision)
        compare_precisions(state_dict.get("draw_precision"), drawn_in)
        self._restored = state_dict["identities"]
        self._registry = None
        self._is_grouped = False

    def _grouped(self) -> tuple[IdentityRegistry, FaceDrawer]:
        """Return identities of the archive of the moment, and what draws them."""
        if self._registry is None or self._drawer is None or not self._is_grouped:
            generator, guidance = self.prepare_synthesis()
            assert self._drawer is not None
            self._registry = self._updated()
            self._drawer.place(self._registry.table(), device_of(generator, guidance))
            self._is_grouped = True
        return self._registry, self._drawer

    def _updated(self) -> IdentityRegistry:
        """Return the identities, after an update if what decides them has changed."""
        if self.sampler is None:
            raise DataModuleError("Synthetic images need a sampler: set `data.init_args.sampler`.")
        registry = self._registry
        if registry is None:
            registry = IdentityRegistry(slots=self.slots, bin_names=self.sampler.joint.names)
            if self._restored is not None:
                registry.load_state_dict(self._restored)
        quotas = self.sampler.proportions
        wanted = [self.num_identities, self.latents_per_identity, self.grouping, quotas]
        origin = sha256(json.dumps([self._origin(), wanted], sort_keys=True).encode()).hexdigest()
        if registry.origin != origin:
            candidates = self.candidates()
            # By the sampler's quotas, or evenly over bins if it balances these.
            shares, _ = self.sampler.wanted(candidates)
            strata = self.sampler.strata(candidates)
            if shares is None and any(stratum is candidates.bins for stratum in strata):
                shares = torch.ones(len(registry.bin_names))
            report = registry.update(
                candidates,
                group=partial(
                    group_latents,
                    grouping=self.grouping,
                    size=self.latents_per_identity,
                    random=seeded_generator(self.seed, 6, registry.updates),
                    trainer=self.trainer,
                ),
                identities=self.num_identities,
                shares=shares,
                random=seeded_generator(self.seed, 4, registry.updates),
                quotas=None if self.sampler.renormalise else self.sampler.quotas,
            )
            registry.origin = origin
            self._report_identities(report)
        return registry

    def _report_identities(self, report: IdentityReport) -> None:
        """Tell people and loggers what the identities are made of, and what is missing."""
        assert self._drawer is not None
        edits = self._drawer.num_edits
        rank_zero_info(
            f"{report}\n  each latent is drawn {edits} times: {report.smallest * edits} to "
            f"{report.largest * edits} images of an identity"
        )
        for what, shortage in report.shortages().items():
            if what != "slots" or not self._warned_of_slots:
                rank_zero_warn(shortage)
        self._warned_of_slots |= report.held_over > 0
        if self.trainer is not None:
            metrics = report.metrics() | {
                "pool/images_per_identity_min": report.smallest * edits,
                "pool/images_per_identity_max": report.largest * edits,
            }
            for logger in self.trainer.loggers:
                logger.log_metrics(metrics, step=self.trainer.global_step)
