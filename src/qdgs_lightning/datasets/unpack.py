"""Unpacking of a RecordIO file or a file of pairs into folders."""

from pathlib import Path

from qdgs_lightning.datasets.formats import Kind, find_kind
from qdgs_lightning.datasets.image_decoding import ImageDecodingError
from qdgs_lightning.datasets.image_header import image_header
from qdgs_lightning.datasets.records.dataset import RecordIODataset
from qdgs_lightning.datasets.verification.convert import unpack_pairs
from qdgs_lightning.utils.console import DataError, counting, new_folder, say


def unpack_set(*, source: Path, output: Path) -> None:
    """Write the images of one file into folders; see `qdgs data unpack`."""
    kind, source = find_kind(source)
    if kind is Kind.FOLDER:
        raise DataError(f"{source} holds images already; name a .rec or .bin file.")
    if kind is Kind.PAIRS:
        unpack_pairs(source, output)
    else:
        _unpack_records(source, output)


def _unpack_records(source: Path, output: Path) -> None:
    """Write the images of a RecordIO file."""
    dataset = RecordIODataset(source.parent, name=source.stem)
    identity_digits = len(str(dataset.num_classes - 1))
    key_digits = len(str(dataset.keys[-1]))
    made: set[Path] = set()
    with new_folder(output) as unfinished, counting("Unpacking", len(dataset)) as advance:
        for row, key in enumerate(dataset.keys.tolist()):
            record = dataset.record(row)
            try:
                suffix = image_header(record.payload).suffix
            except ImageDecodingError as error:
                reason = str(error).rstrip(".")
                raise DataError(
                    f"Record {key} of {source} holds no image file ({reason}); list all that are "
                    "damaged with qdgs data verify."
                ) from error
            folder = unfinished / f"{int(record.labels[0]):0{identity_digits}}"
            if folder not in made:
                folder.mkdir()
                made.add(folder)
            (folder / f"{key:0{key_digits}}{suffix}").write_bytes(record.payload)
            advance()
    lines = [f"Written: {output}, {len(dataset):,} images of {len(made):,} identities."]
    if missing := dataset.num_classes - len(made):
        lines.append(
            f"{missing:,} identities have no image and no folder; packed again, those after them "
            "get lower numbers."
        )
    say(*lines)
