"""People of a verification set, as far as the names of its files tell."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

_ABOVE = 3  # folders that may be of one person, from the image on


def find_people(paths: Sequence[Path], pairs: Tensor, is_same: Tensor) -> Tensor | None:
    """Tell whom each image shows, where all pairs agree with it.

    People are named by the folder that an image lies in (LFW, RFW, AgeDB-30 as it is unpacked), by
    one further up (CFP has ``001/frontal/01.jpg``), or by the name of the file without its number
    (CALFW and CPLFW have ``Ann_0001.jpg``). The first of these is taken by which every pair of one
    person has one name and every pair of two has two.

    Args:
        paths: The images.
        pairs: Which two form each pair, int64, shape ``[n, 2]``.
        is_same: Whether a pair is of one person, bool, shape ``[n]``.

    Returns:
        The person of each image, int64, shape ``[len(paths)]``, or None where no name tells it.

    Example:
        >>> paths = [Path("Ann/1.jpg"), Path("Ann/2.jpg"), Path("Bob/1.jpg")]
        >>> find_people(paths, torch.tensor([[0, 1], [0, 2]]), torch.tensor([True, False]))
        tensor([0, 0, 1])
    """
    if is_same.all() or not is_same.any():
        return None
    for name in _names():
        numbers: dict[str, int] = {}
        people = torch.tensor([numbers.setdefault(name(path), len(numbers)) for path in paths])
        first, second = people[pairs].unbind(1)
        if torch.equal(first == second, is_same.bool()):
            return people
    return None


def _names() -> Iterator[Callable[[Path], str]]:
    """Yield ways to name the person of an image."""
    for above in range(_ABOVE):
        yield lambda path, above=above: "/".join(path.parts[: -1 - above])  # type: ignore[misc]
    yield lambda path: re.sub(r"[\W_]*\d+$", "", path.stem)
