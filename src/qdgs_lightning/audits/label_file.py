"""Each image's labels as a Parquet file, which pandas, polars, DuckDB and Hugging Face read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from qdgs_lightning.audits.annotators import NONE, Attribute
from qdgs_lightning.utils.atomic_files import replacing

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class ImageLabels:
    """What is known of the images of one source.

    Attributes:
        source: Name of the source.
        images: Names of the images.
        units: The unit of each, int64 ``[n]``.
        weights: How often each counts, float64 ``[n]``.
        labels: Int64 ``[n, attributes]``; -1 for none of the classes, -2 where nothing was said.
        truth: The same of true labels; None where the source has none.
        measures: Float ``[n, measures]``; None where a table labelled the images.
    """

    source: str
    images: Sequence[str]
    units: Tensor
    weights: Tensor
    labels: Tensor
    truth: Tensor | None
    measures: Tensor | None


def write_labels(
    path: Path,
    sources: Iterable[ImageLabels],
    *,
    attributes: Sequence[Attribute],
    measure_names: Sequence[str],
) -> None:
    """Write a row for every image.

    Its columns are ``source``, ``image``, ``unit``, ``weight``; for each attribute one of its name
    with the class that was said, "none", or null where nothing was; ``true NAME`` with the true
    class, if any source has true labels; and ``measure NAME`` for each measure.

    Args:
        path: The file to be made or replaced.
        sources: What is known of each source.
        attributes: What is said of an image.
        measure_names: Names of the measures.

    Raises:
        OSError: The file cannot be written.

    Example:
        >>> pandas.read_parquet("runs/audit/labels.parquet").groupby("source").skin.value_counts()
    """
    # Imported here since a command line should answer at once.
    import pyarrow as pa
    from pyarrow import parquet

    sources = list(sources)
    names = [("", "labels")]
    if any(each.truth is not None for each in sources):
        names.append(("true ", "truth"))
    parts = []
    for each in sources:
        n = len(each.images)
        columns: dict[str, pa.Array] = {
            "source": pa.array([each.source] * n).dictionary_encode(),
            "image": pa.array(each.images, type=pa.string()),
            "unit": pa.array(each.units.numpy()),
            "weight": pa.array(each.weights.numpy()),
        }
        for prefix, kind in names:
            codes = getattr(each, kind)
            for column, attribute in enumerate(attributes):
                words = torch.full((n,), -2) if codes is None else codes[:, column]
                columns[prefix + attribute.name] = _words(words, attribute)
        for place, name in enumerate(measure_names):
            values = None if each.measures is None else each.measures[:, place].float().numpy()
            columns[f"measure {name}"] = (
                pa.nulls(n, pa.float32()) if values is None else pa.array(values)
            )
        parts.append(pa.table(columns))
    with replacing(path) as unfinished:
        parquet.write_table(pa.concat_tables(parts).unify_dictionaries(), unfinished)


def _words(labels: Tensor, attribute: Attribute) -> "pa.Array":
    """Name labels ``[n]``; null where nothing was said."""
    import pyarrow as pa

    words = [*attribute.classes, NONE]
    codes = (labels % len(words)).int().numpy()
    return pa.DictionaryArray.from_arrays(
        pa.array(codes, mask=(labels < -1).numpy()), pa.array(words, type=pa.string())
    )
