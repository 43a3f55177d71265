"""Procedural identities: what a recogniser can learn to tell apart within seconds."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from qdgs_lightning.datasets.records.packing import encode_jpeg
from qdgs_lightning.datasets.records.writer import write_record_dataset
from qdgs_lightning.datasets.verification.insightface_bin import write_verification_bin


def portraits(identity: int, n: int, *, side: int = 112) -> Tensor:
    """Draw images of one identity, uint8 ``[n, 3, side, side]``.

    An identity is a skin colour, an oval and six coloured spots at places of its own; images of it
    differ in place, size, light and noise.
    """
    who = torch.Generator().manual_seed(identity)
    how = torch.Generator().manual_seed(2**32 + identity)
    places = torch.rand(6, 2, generator=who) * 1.1 - 0.55
    sizes = 0.08 + 0.14 * torch.rand(6, generator=who)
    colours = torch.rand(6, 3, generator=who)
    skin = 0.35 + 0.5 * torch.rand(3, generator=who)
    height, width = (0.65 + 0.25 * torch.rand(2, generator=who)).tolist()
    line = torch.linspace(-1, 1, side)
    shift = 0.08 * torch.randn(n, 2, generator=how)
    scale = 1 + 0.06 * torch.randn(n, generator=how)
    y = (line[None, :, None] - shift[:, 0, None, None]) * scale[:, None, None]
    x = (line[None, None, :] - shift[:, 1, None, None]) * scale[:, None, None]
    face = torch.sigmoid(20 * (1 - (y / height).square() - (x / width).square()))[:, None]
    images = 0.15 + face * (skin[:, None, None] - 0.15)
    for place, size, colour in zip(places, sizes, colours, strict=True):
        spot = (-((y - place[0]).square() + (x - place[1]).square()) / size.square()).exp()
        images = images + spot[:, None] * (colour[:, None, None] - images)
    light = 1 + 0.15 * torch.randn(n, 1, 1, 1, generator=how)
    images = images * light + 0.03 * torch.randn(n, 3, side, side, generator=how)
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def jpegs(images: Tensor) -> list[bytes]:
    """Encode images ``[n, 3, S, S]``."""
    return [encode_jpeg(image) for image in images]


def identities(numbers: Iterable[int], each: int, *, side: int = 32) -> list[list[bytes]]:
    """Draw JPEG files of several identities."""
    return [jpegs(portraits(number, each, side=side)) for number in numbers]


def write_training_set(root: Path, n: int = 4, each: int = 8, *, side: int = 32) -> Path:
    """Write ``train.rec`` of identities 0 to n - 1."""
    write_record_dataset(root, identities(range(n), each, side=side), height=side, width=side)
    return root


def write_benchmark(path: Path, numbers: Sequence[int], n: int = 40, *, side: int = 32) -> Path:
    """Write a ``.bin`` of n pairs of identities, same and different in turn, drawn from numbers."""
    random = torch.Generator().manual_seed(len(numbers))
    of = [jpegs(portraits(number, 8, side=side)) for number in numbers]
    images, is_same = [], [index % 2 == 0 for index in range(n)]
    for same in is_same:
        a, b = torch.randperm(len(of), generator=random)[:2].tolist()
        i, j = torch.randperm(8, generator=random)[:2].tolist()
        images += [of[a][i], of[a if same else b][j]]
    write_verification_bin(path, images, is_same)
    return path


def write_face_files(folder: Path) -> None:
    """Make a training set of two identities and a benchmark of others, where configs have them."""
    root = write_training_set(folder / "data" / "faces_webface_112x112", n=2, each=4)
    write_benchmark(root / "lfw.bin", range(10, 14))
