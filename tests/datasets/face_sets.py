"""Small sets of faces for the tests of ``qdgs data``."""

import shutil
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from qdgs_lightning.cli.main import main
from tests.faces import jpegs, portraits

RECORDS = Path(__file__).parents[1] / "data" / "recordio"


def copied(target: Path, name: str = "faces") -> Path:
    """Copy a set that mxnet wrote: 9 images of 16 x 16 pixels, of 3 identities."""
    return Path(shutil.copytree(RECORDS / name, target))


def photos(root: Path, counts: Sequence[int], *, side: int = 24) -> Path:
    """Make a folder of identities, and check nothing."""
    for identity, count in enumerate(counts):
        folder = root / f"id{identity:02d}"
        folder.mkdir(parents=True)
        for number, data in enumerate(jpegs(portraits(identity, count, side=side))):
            (folder / f"{number:03d}.jpg").write_bytes(data)
    return root


def image_file(kind: str, mode: str, *, side: int = 16) -> bytes:
    """Make an image file of any kind."""
    file = BytesIO()
    Image.new(mode, (side, side)).save(file, kind)
    return file.getvalue()


def contents(root: Path) -> dict[str, bytes]:
    """Return all files below a folder."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def complaint(*words: object) -> str:
    """The only sentence that a failing ``qdgs data`` says."""
    with pytest.raises(SystemExit) as caught:
        main(["data", *map(str, words)])
    assert isinstance(caught.value.code, str)  # Python prints it and ends with status 1
    assert "\n" not in caught.value.code
    return caught.value.code
