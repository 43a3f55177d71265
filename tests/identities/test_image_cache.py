"""The cache of a rank against a generator that always draws anew."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from qdgs_lightning.datamodules import DataModuleError
from qdgs_lightning.identities.image_cache import ImageCache, check_ranks

# Which latent stands in each row of a table; tables follow each other as refreshes do.
TABLES = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=12), min_size=1, max_size=5)


class Drawn:
    """Draws grey images of a table, and notes which numbers it was asked for."""

    def __init__(self, table: list[int], edits: int) -> None:
        self.table, self.edits = table, edits
        self.asked: list[int] = []

    def __call__(self, numbers: Tensor) -> Tensor:
        """Draw and note."""
        self.asked += numbers.tolist()
        return self.images(numbers)

    def images(self, numbers: Tensor) -> Tensor:
        """Draw images whose grey tells latent and edit."""
        greys = torch.tensor(self.table)[numbers // self.edits] * self.edits + numbers % self.edits
        return greys.to(torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2)


@pytest.mark.parametrize("world", [1, 2, 4])
@given(tables=TABLES, edits=st.integers(1, 3), shown=st.integers(0, 2**31))
def test_images_are_those_of_the_table_and_drawn_once(
    world: int, tables: list[list[int]], edits: int, shown: int
) -> None:
    random = torch.Generator().manual_seed(shown)
    for rank in range(world):
        cache = ImageCache(side=2, device=torch.device("cpu"), rank=rank, world=world)
        # What each number shows, as long as its row stays in the table and its latent in the row.
        known: dict[int, int] = {}
        before: list[int] = []
        for table in tables:
            draw = Drawn(table, edits)
            cache.renew(torch.tensor(table), edits=edits)
            known = {
                number: row
                for number, row in known.items()
                if row < len(table) and table[row] == before[row]
            }
            numbers = torch.tensor(range(rank, len(table) * edits, world), dtype=torch.int64)
            numbers = numbers[torch.rand(len(numbers), generator=random) < 0.7]
            numbers = numbers[torch.randperm(len(numbers), generator=random)]
            for part in torch.split(numbers, 3):
                assert torch.equal(cache.get(part, draw), draw.images(part))
            # Not once more where the row kept its latent, also beside rows of other ranks.
            assert sorted(draw.asked) == sorted(set(numbers.tolist()) - known.keys())
            known |= {number: number // edits for number in numbers.tolist()}
            before = table


def test_the_number_of_ranks_divides_the_residues() -> None:
    for world in (1, 2, 16, 64):
        check_ranks(world)
    for world in (3, 48, 128):
        with pytest.raises(DataModuleError, match=f"divides 64, not {world}"):
            check_ranks(world)


def test_images_lie_on_the_device_asked_for_and_are_asked_about_on_the_cpu() -> None:
    """A device without storage shows that nothing is kept elsewhere, and that nothing waits."""
    cache = ImageCache(side=2, device=torch.device("meta"), rank=0, world=1)
    for table in ([4, 5], [4, 6, 7]):  # the second makes new room
        draw = Drawn(table, 1)
        cache.renew(torch.tensor(table), edits=1)
        found = cache.get(torch.arange(len(table)), draw)
        assert (found.device.type, found.shape) == ("meta", (len(table), 3, 2, 2))
    assert draw.asked == [1, 2]
