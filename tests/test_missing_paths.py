"""A relative path that is not there is told with the folder in which it was looked for."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from qdgs_lightning.audits.annotators import read_labels
from qdgs_lightning.datasets import load_benchmarks, load_verification_pairs, open_face_dataset
from qdgs_lightning.datasets.formats import find_kind
from qdgs_lightning.errors import QDGSError
from qdgs_lightning.generators.stylegan2 import load_stylegan2
from qdgs_lightning.identities.edits import FileEdits
from qdgs_lightning.models import IResNet, load_backbone_weights
from qdgs_lightning.search import Archive
from qdgs_lightning.utils.checkpoint_io import read_checkpoint
from qdgs_lightning.weights import resolve_weights
from tests.cli.test_main import complaint


def _backbone_weights(path: Path) -> object:
    return load_backbone_weights(IResNet(layers=(1, 1, 1, 1), width=2, image_size=32), path)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("data/faces", open_face_dataset),
        ("data/faces.rec", open_face_dataset),
        ("data/lfw.bin", load_verification_pairs),
        ("data/network.pkl", load_stylegan2),
        ("data/network.pth", _backbone_weights),
        ("data/weights.safetensors", resolve_weights),
        ("data/archive.safetensors", Archive.load),
        ("runs/a/last.ckpt", read_checkpoint),
        ("data/edits.pt", lambda path: FileEdits(path)._read()),
        ("data/labels.csv", read_labels),
        ("data/faces", find_kind),
        ("data/faces", lambda path: complaint("data", "inspect", str(path))),
    ],
)
def test_a_missing_file_is_told_with_its_folder(
    name: str,
    read: Callable[[Path], object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        told = str(read(Path(name)))
    except QDGSError as error:
        told = str(error)
    assert str(tmp_path / name) in told
    assert "\n" not in told


def test_missing_benchmarks_are_told_with_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match=re.escape(str(tmp_path / "data" / "lfw.bin"))):
        load_benchmarks(Path("data"), ["lfw"], image_size=32)
