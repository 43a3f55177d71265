"""Which image of an export goes where, against a list of all images."""

from collections import Counter

import pytest
import torch

from qdgs_lightning.export.layout import ExportLayout
from qdgs_lightning.export.shards import ExportError
from qdgs_lightning.identities import IdentityTable

# Of seven latents the identities, which are in no order and have gaps, and their bins.
CLASSES, BINS = [5, 0, 5, 2, 0, 5, 12], [1, 0, 1, 0, 0, 1, 2]
TABLE = IdentityTable(
    latents=torch.arange(7.0)[:, None],
    classes=torch.tensor(CLASSES),
    bins=torch.tensor(BINS),
    bin_names=("dark", "mixed", "light"),
)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("edits", [1, 3])
def test_every_image_has_a_place_and_a_number_among_those_of_its_identity(
    edits: int, mixed: bool
) -> None:
    layout = ExportLayout.of(TABLE, num_images=7 * edits, mixed=mixed)
    # Image number is latent x edits + edit; each identity counts its own in this order.
    seen: Counter[int] = Counter()
    expected = {}
    for image in range(7 * edits):
        identity = CLASSES[image // edits]
        expected[image] = (identity, seen[identity], BINS[image // edits])
        seen[identity] += 1
    columns = (layout.classes.tolist(), layout.numbers.tolist(), layout.bins.tolist())
    found = dict(zip(layout.order.tolist(), zip(*columns, strict=True), strict=True))
    assert found == expected
    assert layout.edits == edits
    in_order = sorted(layout.classes.tolist()) == layout.classes.tolist()
    assert in_order != mixed
    identities, counts = layout.counts()
    assert dict(zip(identities.tolist(), counts.tolist(), strict=True)) == dict(seen)
    files = [str(image).encode() for image in layout.order.tolist()]
    for file in layout.named(files):
        identity, number, index = expected[int(file.data)]
        assert (file.identity, file.folder) == (identity, f"{identity:02d}")
        assert int(file.stem) == number
        assert file.facts["bin_name"] == TABLE.bin_names[index]
    names = {(file.folder, file.stem) for file in layout.named(files)}
    assert len(names) == 7 * edits


def test_other_identities_make_another_digest() -> None:
    digests = {ExportLayout.of(TABLE, num_images=7, mixed=False).digest}
    for name, change in (("latents", 0.5), ("classes", 1), ("bins", 1)):
        other = {key: getattr(TABLE, key) for key in ("latents", "classes", "bins")}
        other[name] = other[name] + change
        table = IdentityTable(**other, bin_names=TABLE.bin_names)
        digests.add(ExportLayout.of(table, num_images=7, mixed=False).digest)
    assert len(digests) == 4
    with pytest.raises(ExportError, match="no identity to write"):
        ExportLayout.of(TABLE, num_images=0, mixed=False)


def test_identities_without_a_bin_have_no_name_of_one() -> None:
    table = IdentityTable(
        latents=torch.zeros(2, 1),
        classes=torch.tensor([0, 1]),
        bins=torch.tensor([-1, 0]),
        bin_names=("dark", "light"),
    )
    layout = ExportLayout.of(table, num_images=2, mixed=False)
    assert [file.facts["bin_name"] for file in layout.named([b"", b""])] == ["", "dark"]
