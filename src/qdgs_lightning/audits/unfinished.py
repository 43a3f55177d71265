"""What has been said of images so far, in a file that outlives a stop."""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from qdgs_lightning.audits.annotators import Annotator
from qdgs_lightning.audits.sources import AuditedImages, Source
from qdgs_lightning.audits.units import AuditError
from qdgs_lightning.utils.atomic_files import replacing

_PROBES = 16
# GPUs draw the same image twice with a level of difference here and there.
_PROBE_TOLERANCE = 1.0


class UnfinishedAnnotations:
    """Labels and measures of the first images of a source, kept in a file until an audit is whole.

    Args:
        path: The file; it is read if it is there, and made once there is something to keep.
        settings: All that labels depend on, in JSON types; see `annotation_settings`.
        save_every_seconds: How much work a killed process may lose.

    Raises:
        AuditError: The file is damaged, or was begun with other settings.

    Example:
        >>> unfinished = UnfinishedAnnotations(Path("annotations.safetensors"), settings)
        >>> for batch in images.batches(64, len(unfinished)):
        ...     unfinished.append(*annotator.measured(batch))
        >>> unfinished.save()
    """

    def __init__(
        self, path: Path, settings: dict[str, Any], *, save_every_seconds: float = 10.0
    ) -> None:
        self.path = path
        self._settings = settings
        self._save_every_seconds = save_every_seconds
        self._saved_at = time.monotonic()
        self._parts = [self._read()] if path.exists() else []
        self._unsaved = False

    def __len__(self) -> int:
        """Say of how many images something is known."""
        return sum(len(labels) for labels, _ in self._parts)

    def append(self, labels: Tensor, measures: Tensor) -> None:
        """Take what was said of the next batch, and save now and then.

        Args:
            labels: Int64, shape ``[n, attributes]``.
            measures: Shape ``[n, measures]``.

        Raises:
            OSError: The file cannot be written.
        """
        self._parts.append((labels.cpu(), measures.cpu()))
        self._unsaved = True
        if time.monotonic() - self._saved_at >= self._save_every_seconds:
            self.save()

    def save(self) -> None:
        """Write the file, whole or not at all, if there is anything new.

        Raises:
            OSError: The file cannot be written.
        """
        if self._unsaved:
            labels, measures = self.result()
            with replacing(self.path) as path:
                save_file(
                    {"labels": labels, "measures": measures},
                    path,
                    metadata={"settings": json.dumps(self._settings)},
                )
            self._unsaved = False
        self._saved_at = time.monotonic()

    def result(self) -> tuple[Tensor, Tensor]:
        """Return labels and measures of all images so far, of which there must be some."""
        parts = zip(*self._parts, strict=True)
        labels, measures = (torch.cat(part) for part in parts)
        self._parts = [(labels, measures)]
        return labels, measures

    def _read(self) -> tuple[Tensor, Tensor]:
        """Read the file.

        Raises:
            AuditError: It is damaged, or was begun with other settings.
        """
        try:
            with safe_open(self.path, framework="pt") as file:
                before = json.loads((file.metadata() or {})["settings"])
                content = file.get_tensor("labels"), file.get_tensor("measures")
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise AuditError(f"{self.path} is damaged; remove it to begin anew.") from error
        for name, value in json.loads(json.dumps(self._settings)).items():
            if not _alike(name, before.get(name), value):
                other = {
                    "annotator": "another annotator",
                    "source": "other images",
                    "images": "other images",
                    "probe": "other images of the same names",
                }.get(name, f"{name}={before.get(name)}, not {value}")
                raise AuditError(
                    f"{self.path} was begun with {other}; give the same settings, give another "
                    "output, or remove that file."
                )
        return content


def annotation_settings(
    source: Source,
    images: AuditedImages,
    annotator: Annotator,
    *,
    device: torch.device,
) -> dict[str, Any]:
    """Collect what labels depend on.

    The size of batches is not among it: an audit that ran out of memory goes on with smaller ones.
    Measures may then differ in their last bits, as they do between two machines.

    Args:
        source: The source, opened.
        images: Its images, of which a few are looked at.
        annotator: Who labels, prepared.
        device: Where they are labelled.

    Returns:
        Settings in JSON types, for `UnfinishedAnnotations`.

    Raises:
        QDGSError: An image cannot be read.
    """
    digest = hashlib.sha256(json.dumps([images.names, images.digest]).encode()).hexdigest()
    rows = torch.linspace(0, len(images) - 1, min(_PROBES, len(images))).long().tolist()
    probes = [next(images.batches(1, row))[0] for row in rows]
    return {
        "source": source.describe(),
        "annotator": annotator.describe(),
        "device": device.type,
        "images": digest,
        "probe": [
            [round(255 * value, 1) for value in image.mean(dim=(1, 2)).tolist()] for image in probes
        ],
    }


def _alike(name: str, before: Any, now: Any) -> bool:  # noqa: ANN401 (JSON types)
    """Whether a setting is the same."""
    if name != "probe" or not isinstance(before, list) or len(before) != len(now):
        return bool(before == now)
    return bool((torch.tensor(before) - torch.tensor(now)).abs().max() <= _PROBE_TOLERANCE)
