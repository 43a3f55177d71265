"""The task of an export: images drawn piece by piece, on any number of devices."""

from collections.abc import Callable

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from qdgs_lightning.export.layout import ExportLayout, IdentitySource
from qdgs_lightning.export.shards import ExportError, ImagePieces
from qdgs_lightning.export.workspace import ExportOptions, ExportPlace
from qdgs_lightning.export.writer import encode_image

_SAMPLE = 16
Piece = tuple[int, Tensor]


class ImageRenderer(L.LightningModule):
    """Draws the images of an export that are not there yet.

    Images are drawn in batches that depend neither on the number of devices nor on where an earlier
    run stopped, so that they are the same to the last bit wherever the generator's are.

    Args:
        source: The datamodule.
        options: How images are kept.
        place: Where they are written.
        settings: What the set depends on beside the identities, for `ExportPlace.refuse_other`.
        finish: Called with this task on rank zero when all ranks are done.

    Attributes:
        layout: Which image goes where, from `setup` on.
        pieces: What is written, from `setup` on.
        settings: All that the set depends on, on rank zero, from `setup` on.
        size: Height and width of the images, on rank zero, from `setup` on.
    """

    layout: ExportLayout
    pieces: ImagePieces
    size: tuple[int, int]

    def __init__(
        self,
        source: IdentitySource,
        *,
        options: ExportOptions,
        place: ExportPlace,
        settings: dict[str, object],
        finish: Callable[["ImageRenderer"], None],
    ) -> None:
        super().__init__()
        self._source = source
        self._options = options
        self._place = place
        self._finish = finish
        self._pending: list[int] = []
        self.settings = settings
        self.allow_zero_length_dataloader_with_multiple_devices = True

    def setup(self, stage: str) -> None:
        """Find the identities and what is left to draw; every rank takes part.

        Raises:
            ExportError: The place holds something else, the disk is too small, or images are NaN.
        """
        source, strategy = self._source, self.trainer.strategy
        source.trainer = self.trainer
        table = source.identities()
        mixed = self._options.format == "webdataset"
        self.layout = ExportLayout.of(table, num_images=source.num_images, mixed=mixed)
        self.pieces = ImagePieces(
            self._place.pieces, total=len(self.layout), piece_size=self._options.batch_size
        )
        complaint = ""
        if self.trainer.is_global_zero:
            try:
                self._pending = self._begin()
            except ExportError as error:
                complaint = str(error)
        if complaint := strategy.broadcast(complaint):
            raise ExportError(complaint)
        self._pending = strategy.broadcast(self._pending)
        if not self._pending:
            self.trainer.limit_predict_batches = 0  # a loader without batches earns a warning

    def teardown(self, stage: str) -> None:
        """Finish, once every rank is done."""
        self.trainer.strategy.barrier()
        if self.trainer.is_global_zero:
            self._finish(self)

    def predict_dataloader(self) -> DataLoader[Piece]:
        """Load the numbers of the images of each piece that is left to this rank."""
        mine = self._pending[self.trainer.global_rank :: self.trainer.world_size]
        pieces = [(piece, self.layout.order[self.pieces.positions(piece)]) for piece in mine]
        return DataLoader(PieceList(pieces), batch_size=1, collate_fn=_only)

    def predict_step(self, batch: Piece, batch_idx: int) -> Tensor:
        """Draw a piece.

        Returns:
            uint8 RGB, shape ``[n, 3, H, W]``, on the CPU.
        """
        return self._draw(batch[1])

    @torch.no_grad()
    def _draw(self, rows: Tensor) -> Tensor:
        """Draw images by their numbers.

        Raises:
            ExportError: They are not finite.
        """
        images = self._source.render(rows)
        if not images.isfinite().all():
            raise ExportError(
                f"{type(self._source.generator).__name__} returned an image that is NaN or "
                "infinite; check its weights and its precision."
            )
        return (images.clamp(0, 1) * 255).round().to(torch.uint8).cpu()

    def _begin(self) -> list[int]:
        """Look at a sample of the images, compare with what is there, and list what is missing.

        Raises:
            ExportError: The place holds something else, or the disk is too small.
        """
        options, total = self._options, len(self.layout)
        chosen = torch.linspace(0, total - 1, min(_SAMPLE, total)).long()
        images = self._draw(self.layout.order[chosen].to(self.trainer.strategy.root_device))
        self.size = images.shape[-2], images.shape[-1]
        assert self._source.generator is not None
        self.settings = {
            **self.settings,
            "generator": self._source.generator.fingerprint(),
            "images": total,
            "image_size": list(self.size),
            "identities": self.layout.digest,
            "probe": [
                [round(value, 1) for value in row]
                for row in images.float().mean(dim=(2, 3)).tolist()
            ],
        }
        self._place.refuse_other(self.settings)
        if self._place.finished:
            return []
        self._place.keep(self.settings)
        pending = self.pieces.pending()
        kept = {"image_format": options.image_format, "quality": options.quality}
        sizes = [len(encode_image(image, **kept)) for image in images]  # type: ignore[arg-type]
        needed = options.bytes_needed(
            file_size=sum(sizes) / len(sizes),
            images=total,
            pending=sum(len(self.pieces.positions(piece)) for piece in pending),
        )
        self._place.check_space(needed)
        return pending


class PieceList(Dataset[Piece]):
    """Numbers of pieces and of the images in them."""

    def __init__(self, pieces: list[Piece]) -> None:
        self.pieces = pieces

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, index: int) -> Piece:
        return self.pieces[index]


def _only(batch: list[Piece]) -> Piece:
    """Take a list of one apart."""
    return batch[0]
