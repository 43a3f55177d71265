"""Group latents into identities by neighbours and by scikit-learn's k-means, as published.

Run by hand, for about two minutes on a core; scikit-learn is no dependency of this package:

    OMP_NUM_THREADS=1 python -m benchmarks.identities

k-means takes time with the square of the number of latents, or more: it is measured at two smaller
numbers, and what it takes at the full one is the square's extrapolation from the larger of them.
"""

import time
from collections.abc import Callable

import torch
from jsonargparse import auto_cli
from torch import Tensor

from qdgs_lightning.identities import group_by_neighbours, spread_within


def styles(n: int, width: int) -> Tensor:
    """Draw latents of unit variance whose principal components fall off, as those of styles do."""
    random = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(width, width, generator=random)).Q
    scales = torch.arange(1, width + 1).float() ** -0.5
    latents = (torch.randn(n, width, generator=random) * scales) @ directions
    standardised: Tensor = latents / latents.std(dim=0)
    return standardised


def by_kmeans(latents: Tensor) -> Tensor:
    """Group by scikit-learn, as published but for one start in place of ten."""
    try:
        from sklearn.cluster import KMeans
    except ImportError:
        raise SystemExit(
            "This benchmark compares with scikit-learn: pip install scikit-learn."
        ) from None
    means = KMeans(len(latents) // 2, n_init=1, random_state=0)
    return torch.from_numpy(means.fit(latents.numpy()).labels_).long()


def by_neighbours(latents: Tensor) -> Tensor:
    """Group by this package, all in one bin."""
    return group_by_neighbours(latents, bins=torch.zeros(len(latents), dtype=torch.int64))


def measured(name: str, group: Callable[[Tensor], Tensor], latents: Tensor) -> float:
    """Print what a grouping is like, and return its CPU-seconds."""
    started = time.process_time()
    groups = group(latents)
    seconds = time.process_time() - started
    sizes = groups[groups >= 0].bincount()
    print(
        f"{len(latents):>6} latents, {name}: {seconds:.2f} CPU-seconds, {len(sizes)} identities of "
        f"{int(sizes.min())} to {int(sizes.max())} ({int((sizes == 2).sum())} of two), mean "
        f"distance within {spread_within(latents, groups):.2f}",
        flush=True,
    )
    return seconds


def main(latents: int = 20_000, width: int = 512, compared: int = 4_000) -> None:
    """Measure both in turns.

    Args:
        latents: How many latents the ratio is for.
        width: Numbers of each.
        compared: How many k-means is measured at, and half as many.
    """
    torch.set_num_threads(1)
    whole = styles(latents, width)
    # So that no library is warming up while it is measured.
    by_neighbours(whole[:200])
    by_kmeans(whole[:200])
    for n in (compared // 2, compared):
        slow = measured("k-means", by_kmeans, whole[:n])
        fast = measured("neighbours", by_neighbours, whole[:n])
        print(f"{n:>6} latents: {slow / fast:.0f} times as fast")
    fast = measured("neighbours", by_neighbours, whole)
    slow *= (latents / compared) ** 2
    print(
        f"{latents:>6} latents: k-means {slow:.0f} CPU-seconds, extrapolated; {slow / fast:.0f} "
        "times as fast (target >= 50)"
    )


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
