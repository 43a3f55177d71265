"""The small weights that the package ships, so that shapes and avatars run offline.

Each file is remade by a documented command (see ``make weights``); the README lists them. Networks
are float16 on disk where that suffices, and float32 once loaded.
"""

from pathlib import Path

from qdgs_lightning.errors import QDGSError

_FOLDER = Path(__file__).parent


class WeightsError(QDGSError):
    """A weights file is missing, damaged, or of another model."""


def packaged_weights() -> list[str]:
    """Return the names of the weights that the package ships."""
    return sorted(path.stem for path in _FOLDER.glob("*.safetensors"))


def resolve_weights(name_or_path: str | Path) -> Path:
    """Find weights by a shipped name or by their path.

    Args:
        name_or_path: A name out of `packaged_weights`, or the path of a ``.safetensors`` file.

    Returns:
        The path of an existing file.

    Raises:
        WeightsError: There is neither such a name nor such a file.

    Example:
        >>> resolve_weights("shapes_clip").name
        'shapes_clip.safetensors'
    """
    for path in (Path(name_or_path), _FOLDER / f"{name_or_path}.safetensors"):
        if path.is_file():
            return path
    raise WeightsError(
        f"There are no weights {Path(name_or_path).absolute()}: give the path of a .safetensors "
        f"file, or one of the shipped names {', '.join(packaged_weights())}."
    )
