"""What a search was begun with, and whether it is the same that is to go on with it."""

import json
from typing import Any

from qdgs_lightning.generators import Generator
from qdgs_lightning.guidance import Guidance
from qdgs_lightning.search.config import SearchError


def check_origin(
    generator: Generator, guidance: Guidance, *, begun_with: dict[str, Any] | None
) -> dict[str, Any]:
    """Prepare generator and guidance, and compare them with those that a search was begun with.

    Args:
        generator: Whose latents are searched.
        guidance: What judges the images.
        begun_with: What this returned then; None where the search begins.

    Returns:
        What decides latents and values, in JSON types.

    Raises:
        SearchError: Something is not what it was.
    """
    generator.prepare()
    guidance.prepare()
    origin = {
        # Part of the generator, but tells more than its hash.
        "latent_shape": list(generator.latent_shape),
        "generator": generator.fingerprint(),
        "guidance": as_json(guidance.describe()),
    }
    before = origin if begun_with is None else begun_with
    if before.keys() != origin.keys():
        raise SearchError(
            "The search was begun with another version of this package; go on with that one, or "
            "begin a new search elsewhere."
        )
    for name, value in origin.items():
        if before[name] != value:
            raise SearchError(
                f"The search was begun with the {name} {_unlike(before[name], value)}, not "
                f"{_unlike(value, before[name])}; bring that one back, weights and arguments, or "
                "begin a new search elsewhere."
            )
    return origin


def as_json(value: object) -> Any:  # noqa: ANN401 (any JSON value)
    """Return a value as it comes back from a JSON file, so that the two compare equal."""
    return json.loads(json.dumps(value))


def _unlike(one: Any, other: Any) -> Any:  # noqa: ANN401 (any JSON value)
    """Return that part of a description in which another differs; other values as they are."""
    if not isinstance(one, dict):
        return one
    return {key: value for key, value in one.items() if other.get(key) != value}
