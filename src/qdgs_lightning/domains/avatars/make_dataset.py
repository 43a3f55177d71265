"""``qdgs avatars-data``: the training set and the benchmarks of the avatars domain, as files."""

from contextlib import ExitStack
from pathlib import Path

import torch

from qdgs_lightning.datasets import pack_dataset, write_verification_bin
from qdgs_lightning.datasets.records.packing import encode_jpeg
from qdgs_lightning.datasets.verification.draw import check_number_of_pairs, draw_pairs
from qdgs_lightning.domains.avatars.dataset import Population
from qdgs_lightning.domains.avatars.people import AvatarPeople
from qdgs_lightning.errors import QDGSError
from qdgs_lightning.utils.atomic_files import replacing
from qdgs_lightning.utils.console import counting, say
from qdgs_lightning.utils.seeding import HELD_OUT, check_seed

GROUPS = {
    "avatars_dark": {"skin": "dark"},
    "avatars_light": {"skin": "light"},
    "avatars_young": {"age": "young"},
    "avatars_old": {"age": "old"},
}
"""Benchmarks by name, and who is in them; within a group all else is equally common."""

_SEEDS = {name: HELD_OUT + 4 + number for number, name in enumerate(GROUPS)}


def avatars_data(
    *,
    output: Path = Path("data/avatars"),
    identities: int = 100,
    images_per_identity: int = 8,
    pairs: int = 6000,
    benchmark_identities: int = 600,
    image_size: int = 32,
    seed: int = 0,
) -> None:
    """Write a biased training set of avatars and unbiased benchmarks of groups.

    The training set, ``train.rec``, has the shares of skin, gender and age that FFHQ has, as
    published (Chang et al., AAAI-24). The benchmarks, dark and light, young and old, have as many
    pairs of one identity as of two in each of ten folds. Two people of a pair are alike in skin,
    gender, hair and age, as they are chosen for RFW, so that none of these tells them apart. The
    benchmarks do not depend on the seed. The files appear together once all are whole.

    Args:
        output: The folder of all files.
        identities: People in the training set.
        images_per_identity: Images of each.
        pairs: Pairs of each benchmark, a multiple of 20.
        benchmark_identities: People in each benchmark, four images of each.
        image_size: Side of the images in pixels.
        seed: Of the training set, from 0 on.

    Raises:
        QDGSError: A number is out of its range, there are files already, or the benchmarks have too
            few people for the pairs.
    """
    check_seed(seed)
    check_number_of_pairs(pairs)
    for name, value in (
        ("identities", identities),
        ("images_per_identity", images_per_identity),
        ("benchmark_identities", benchmark_identities),
        ("image_size", image_size),
    ):
        if value < 1:
            raise QDGSError(f"{name} is {value}; give a whole number of at least 1.")
    names = ["train.rec", *(f"{name}.bin" for name in GROUPS)]
    present = [name for name in names if (output / name).exists()]
    if present:
        raise QDGSError(
            f"{output} has {', '.join(present)} already: remove them, or give another --output."
        )
    with ExitStack() as benchmarks:
        with counting("Benchmarks", len(GROUPS)) as advance:
            for name in GROUPS:
                people = benchmark_people(name, benchmark_identities, image_size=image_size)
                random = torch.Generator().manual_seed(_SEEDS[name])
                kinds = torch.unique(people.attributes, dim=0, return_inverse=True)[1]
                drawn, is_same = draw_pairs(
                    people.labels, pairs, random, kinds=kinds[people.labels]
                )
                encoded = [encode_jpeg(image) for image in people.images]
                files = (encoded[row] for row in drawn.flatten().tolist())
                unfinished = benchmarks.enter_context(replacing(output / f"{name}.bin"))
                write_verification_bin(unfinished, files, is_same)
                advance()
        with counting("Training set", identities * images_per_identity) as advance:
            people = AvatarPeople(
                Population(),
                identities=identities,
                images_per_identity=images_per_identity,
                seed=seed,
                image_size=image_size,
            )
            pack_dataset(people, output, progress=advance)
    say(
        f"{output} holds {len(people):,} images of {identities:,} people, and the benchmarks "
        f"{', '.join(GROUPS)}."
    )


def benchmark_people(name: str, identities: int, *, image_size: int) -> AvatarPeople:
    """Draw the people of a benchmark, who are in no training set.

    Args:
        name: One of `GROUPS`.
        identities: How many people; four images of each are drawn.
        image_size: Side of the images in pixels.
    """
    return AvatarPeople(
        Population.even(),
        identities=identities,
        images_per_identity=4,
        seed=_SEEDS[name],
        only=GROUPS[name],
        image_size=image_size,
    )
