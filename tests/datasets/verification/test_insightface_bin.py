"""Files of Python 2 and 3, numpy 1 and 2; files for insightface; and files that attack."""

import os
import pickle
import random
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from qdgs_lightning.datasets import (
    VerificationDataError,
    VerificationPairs,
    load_verification_pairs,
    write_verification_bin,
)
from tests.datasets.pictures import BY_OTHERS, encoded, made

IMAGES = [encoded((40 * i, 0, 0), size=(8, 8)) for i in range(6)]
LABELS = [True, False, True]


def stored(path: Path, tree: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(tree, protocol=protocol))
    return path


def images(pairs: VerificationPairs) -> Tensor:
    return torch.stack([pairs[index][0] for index in range(len(pairs))])


def as_insightface_reads(path: Path) -> tuple[list[bytes], list[bool]]:
    """Read a file of ours as their load_bin does; it came from nowhere else."""
    with path.open("rb") as file:
        bins, is_same = pickle.load(file, encoding="bytes")
    return bins, is_same


@pytest.mark.parametrize("path", sorted(BY_OTHERS.glob("*.bin")), ids=lambda path: path.stem)
def test_files_of_others(path: Path) -> None:
    pairs = load_verification_pairs(path)
    assert pairs.name == path.stem
    # Six images, two of which stand in two pairs.
    assert len(pairs) == 4
    assert pairs.pairs.tolist() == [[0, 1], [2, 3], [0, 2]]
    assert pairs.pairs.dtype == torch.int64
    assert pairs.is_same.tolist() == [True, False, True]
    assert pairs.is_same.dtype == torch.bool
    assert torch.equal(images(pairs), images(load_verification_pairs(BY_OTHERS / "python3.bin")))
    # mxnet decodes with another build of libjpeg, which may round a pixel otherwise.
    off = (pairs[1][0].int() - made("image_1_by_mxnet.png").int()).abs()
    assert off.max() <= 1


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("make", [bytes, lambda x: np.frombuffer(x, np.uint8)[:, None]])
@pytest.mark.parametrize("label", [bool, int, np.bool_, np.uint8])
def test_files_of_this_python_and_numpy(
    tmp_path: Path,
    protocol: int,
    make: Callable[[bytes], object],
    label: Callable[[bool], object],
) -> None:
    tree = [[make(image) for image in IMAGES], tuple(label(same) for same in LABELS)]
    pairs = load_verification_pairs(stored(tmp_path / "a.bin", tree, protocol), image_size=8)
    assert len(pairs) == 6
    assert pairs.is_same.tolist() == LABELS
    assert images(pairs)[:, 0].float().mean(dim=(1, 2)).tolist() == pytest.approx(
        [0, 40, 80, 120, 160, 200], abs=2
    )


Make = Callable[[list[bytes], list[bool]], object]


def objects(items: list[bytes]) -> NDArray[np.object_]:
    """Keep items in an object array, which must not cut them up."""
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


FORMS: dict[str, Make] = {
    "bytes": lambda images, same: (images, same),
    "bytearrays": lambda images, same: ([bytearray(image) for image in images], same),
    "arrays": lambda images, same: ([np.frombuffer(i, np.uint8) for i in images], same),
    "an array of byte strings": lambda images, same: (np.array(images), np.array(same)),
    "an array of objects": lambda images, same: (objects(images), objects(same)),  # type: ignore[arg-type]
    "objects within": lambda images, same: objects([images, same]),  # type: ignore[list-item]
    "floats": lambda images, same: (images, [float(label) for label in same]),
    "an array of floats": lambda images, same: (images, np.array(same, np.float32)),
    "plus and minus one": lambda images, same: (images, [1 if label else -1 for label in same]),
    "an array of int8": lambda images, same: (images, np.where(same, 1, -1).astype(np.int8)),
    "float signs": lambda images, same: (images, [1.0 if label else -1.0 for label in same]),
    "a dict": lambda images, same: {"bins": images, "issame_list": same},
    "a dict, labels first": lambda images, same: {"issame": same, "data": images},
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("form", FORMS)
def test_forms_in_which_sets_are_handed_round(tmp_path: Path, form: str, protocol: int) -> None:
    path = stored(tmp_path / "a.bin", FORMS[form](IMAGES, LABELS), protocol)
    pairs = load_verification_pairs(path)
    assert pairs.is_same.tolist() == LABELS
    assert pairs.pairs.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert [pairs.encoded(place) for place in range(6)] == IMAGES


def test_a_dict_of_python_2_has_names_of_bytes(tmp_path: Path) -> None:
    names = b"(dS'bins'\n(l" + b"".join(b"S" + repr(i)[1:].encode() + b"\na" for i in IMAGES)
    path = tmp_path / "a.bin"
    path.write_bytes(names + b"sS'issame'\n(lI01\naI00\naI01\nas.")
    assert load_verification_pairs(path).is_same.tolist() == LABELS


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_labels_in_one_array(tmp_path: Path, kind: type, protocol: int) -> None:
    labels = np.arange(600) % 3 == 0
    tree = ([IMAGES[i % 6] for i in range(1200)], labels.astype(kind))
    pairs = load_verification_pairs(stored(tmp_path / "a.bin", tree, protocol))
    assert pairs.is_same.tolist() == labels.tolist()
    assert len(pairs) == 6


def test_what_is_written_is_read_by_us_and_by_others(tmp_path: Path) -> None:
    path = tmp_path / "new" / "set.bin"
    write_verification_bin(path, iter(IMAGES), torch.tensor(LABELS))
    assert as_insightface_reads(path) == (IMAGES, LABELS)
    assert [type(same) for same in as_insightface_reads(path)[1]] == [bool] * 3
    pairs = load_verification_pairs(path, name="mine", image_size=8)
    assert pairs.name == "mine"
    assert pairs.is_same.tolist() == LABELS
    assert pairs.pairs.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert [path.name for path in path.parent.iterdir()] == ["set.bin"]


@pytest.mark.parametrize(
    ("files", "labels", "message"),
    [
        (IMAGES[:5], LABELS, "5 images and 3 labels make no pairs"),
        ([], [], "0 images and 0 labels"),
        ([*IMAGES[:5], b""], LABELS, "Image 5 has no bytes"),
    ],
)
def test_what_is_not_written(
    tmp_path: Path, files: list[bytes], labels: list[bool], message: str
) -> None:
    with pytest.raises(VerificationDataError, match=message):
        write_verification_bin(tmp_path / "set.bin", files, labels)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ((IMAGES[:5], LABELS), "holds 5 images and 3 labels, where each label needs two"),
        ((IMAGES[:3], LABELS[:1]), "holds 3 images and 1 labels"),
        (([], []), "holds 0 images"),
        (IMAGES, "no pair of lists"),
        ({"bins": IMAGES}, "no pair of lists"),
        ((IMAGES, 3), "no pair of lists"),
        ((IMAGES[0], LABELS), "no pair of lists"),
        (([*IMAGES[:5], "text"], LABELS), "image 5 is no bytes"),
        (([*IMAGES[:5], np.zeros(9, np.float32)], LABELS), "image 5 is no bytes"),
        ((IMAGES, [True, 2, False]), "label 1 is neither true nor false"),
        ((IMAGES, [True, None, False]), "label 1 is neither true nor false"),
        ((IMAGES, np.array([0.5, 1, 0])), "label 0 is neither true nor false"),
        ((IMAGES, [1, 0, -1]), "labels are -1, 0 and 1"),
        ((LABELS, IMAGES), "holds 3 images and 6 labels"),
        ({"bins": IMAGES, "issame": LABELS, "more": LABELS}, "no pair of lists"),
        ((np.zeros((6, 9), np.uint8), LABELS), "no pair of lists"),
    ],
)
def test_files_of_another_kind(tmp_path: Path, tree: object, message: str) -> None:
    path = stored(tmp_path / "set.bin", tree)
    with pytest.raises(VerificationDataError, match=message) as caught:
        load_verification_pairs(path)
    assert str(path) in str(caught.value)


def test_files_that_are_not_there_or_empty(tmp_path: Path) -> None:
    with pytest.raises(VerificationDataError, match=r"There is no .*lfw\.bin"):
        load_verification_pairs(tmp_path / "lfw.bin")
    (tmp_path / "empty.bin").touch()
    with pytest.raises(VerificationDataError, match=r"empty\.bin cannot be read"):
        load_verification_pairs(tmp_path / "empty.bin")
    with pytest.raises(VerificationDataError, match=r"has its pairs in it; leave out pairs\.txt"):
        load_verification_pairs(tmp_path / "empty.bin", pairs="pairs.txt")


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"

    class Attack:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch {marker}",)

    for tree in (Attack(), ([*IMAGES[:5], Attack()], LABELS), (IMAGES, [True, False, Attack()])):
        for protocol in range(6):
            with pytest.raises(
                VerificationDataError, match=r"posix\.system, which no verification set needs"
            ):
                load_verification_pairs(stored(tmp_path / "set.bin", tree, protocol))
    assert not marker.exists()


def test_a_bad_image_is_named_when_it_is_read(tmp_path: Path) -> None:
    files = [IMAGES[0], IMAGES[0], b"no image", IMAGES[1]]
    path = tmp_path / "set.bin"
    write_verification_bin(path, files, [True, False])
    pairs = load_verification_pairs(path)
    assert len(pairs) == 3
    with pytest.raises(
        VerificationDataError, match=r"Image 1 of set, number 2 in .*set\.bin, .*none of JPEG"
    ):
        pairs[1]
    assert pairs[0][1] == 0


def test_one_image_in_many_pairs_is_gone_through_once(tmp_path: Path) -> None:
    image = bytes(2**20)
    first = b"(B" + struct.pack("<I", len(image)) + image + b"\x94" + b"h\x00" * 1023 + b"e"
    images = b"]" + first + (b"(" + b"h\x00" * 1024 + b"e") * 31
    labels = b"]" + (b"(" + b"\x88" * 1024 + b"e") * 16
    path = tmp_path / "set.bin"
    path.write_bytes(b"\x80\x04" + images + labels + b"\x86.")
    begin = time.process_time()
    pairs = load_verification_pairs(path)
    assert time.process_time() - begin < 5  # 32 GB would take half a minute
    assert len(pairs) == 1
    assert len(pairs.pairs) == 2**14


def test_flips_of_single_bytes_end_in_images_or_in_an_error(tmp_path: Path) -> None:
    rng, refused, path = random.Random(0), 0, tmp_path / "set.bin"
    array = [np.frombuffer(image, np.uint8) for image in IMAGES[:2]]
    for tree, count in (((IMAGES[:2], [np.True_]), 700), ((array, [True]), 700)):
        data = pickle.dumps(tree, protocol=4)
        for _ in range(count):
            damaged = bytearray(data)
            damaged[rng.randrange(len(data))] ^= rng.randrange(1, 256)
            path.write_bytes(damaged)
            try:
                pairs = load_verification_pairs(path, image_size=8)
                assert images(pairs).shape == (len(pairs), 3, 8, 8)
            except VerificationDataError:
                refused += 1
    for name in ("python2.bin", "python2_text.bin", "numpy1.bin"):
        data = (BY_OTHERS / name).read_bytes()
        for _ in range(400):
            damaged = bytearray(data)
            damaged[rng.randrange(len(data))] ^= rng.randrange(1, 256)
            path.write_bytes(damaged)
            try:
                load_verification_pairs(path)[0]
            except VerificationDataError:
                refused += 1
    assert 200 < refused < 2400


def test_truncated_files(tmp_path: Path) -> None:
    path = tmp_path / "set.bin"
    for name in ("python2.bin", "python2_text.bin", "python3.bin", "numpy1_columns.bin"):
        data = (BY_OTHERS / name).read_bytes()
        for end in range(1, len(data), len(data) // 40):
            path.write_bytes(data[:end])
            with pytest.raises(VerificationDataError):
                load_verification_pairs(path)
