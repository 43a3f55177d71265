"""The configurations that the package ships, found by name from any folder.

They lie in ``configs/`` of the package; a checkout has a link to that folder at its root. The first
line of each is a comment that says in a few words what it is for: ``# Kind: what it does.`` The
kinds ``Search``, ``Overlay of X`` and ``Weights`` part them in the list of ``qdgs configs``; those
without a kind are experiments.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qdgs_lightning.errors import ConfigError, did_you_mean

Kind = Literal["experiment", "search", "overlay", "weights"]

CONFIG_FOLDER = Path(__file__).parents[1] / "configs"
"""Where they lie."""

_ABOUT = re.compile(r"# (?:(Search|Overlay|Weights)(?: of (\S+))?: )?(.+)")


@dataclass(frozen=True, kw_only=True)
class ShippedConfig:
    """A configuration of the package.

    Attributes:
        name: By which ``--config`` finds it, such as ``shapes_qd``.
        path: The YAML file.
        kind: ``experiment`` for `qdgs fit` or `qdgs test`, ``search`` for `qdgs search`,
            ``overlay`` for what is laid over an experiment, and ``weights`` for the fit of a
            network that the package ships or compares with.
        base: The configuration that an overlay is laid over; ``shapes_*`` stands for several.
        about: One line, what it is for.
    """

    name: str
    path: Path
    kind: Kind
    base: str | None
    about: str


def shipped_configs() -> list[ShippedConfig]:
    """List the configurations that the package ships, sorted by name."""
    return [_describe(path) for path in sorted(CONFIG_FOLDER.glob("*.yaml"))]


def find_config(name_or_path: str | Path) -> Path:
    """Find a configuration by its path, or a shipped one by its name.

    Args:
        name_or_path: The path of a YAML file, relative to the folder of the command; or, where no
            such file is there, the name of a shipped one, with or without ``.yaml``.

    Returns:
        The path of an existing file.

    Raises:
        ConfigError: There is neither; the sentence says where the file was looked for.

    Example:
        >>> find_config("shapes_qd").name
        'shapes_qd.yaml'
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.name == str(name_or_path) and path.suffix in ("", ".yaml"):
        shipped = CONFIG_FOLDER / f"{path.stem}.yaml"
        if shipped.is_file():
            return shipped
    names = [file.stem for file in CONFIG_FOLDER.glob("*.yaml")]
    found = "is a folder" if path.is_dir() else "is not there"
    raise ConfigError(
        f"The configuration {path.absolute()} {found}{did_you_mean(path.stem, names)}: give the "
        "path of a YAML file, or a name out of `qdgs configs`."
    )


def _describe(path: Path) -> ShippedConfig:
    """Read the first line of a configuration."""
    with path.open(encoding="utf-8") as file:
        found = _ABOUT.match(file.readline())
    assert found is not None, f"{path} begins with no comment"
    kinds: dict[str | None, Kind] = {
        None: "experiment",
        "Search": "search",
        "Overlay": "overlay",
        "Weights": "weights",
    }
    return ShippedConfig(
        name=path.stem,
        path=path,
        kind=kinds[found[1]],
        base=found[2],
        about=found[3],
    )
