"""Configuration files: found by path or by name, and told by line where they are no YAML."""

import sys
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile  # type: ignore[attr-defined]

from qdgs_lightning.errors import ConfigError
from qdgs_lightning.parsing.shipped_configs import find_config


class ConfigFile(ActionConfigFile):
    """``--config``: a path, the name of a shipped configuration, ``-``, or YAML in place of a file.

    Raises:
        ConfigError: There is no such file, and no configuration of that name.
    """

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: Any = None) -> None:  # noqa: ANN401 (argparse's)
        """Lay the configuration over those before it."""
        if values != "-" and not _is_inline(values):
            found = find_config(values)
            if Path(values).suffix and found != Path(values):  # looks like a path, and is a name
                print(
                    f"There is no {Path(values).absolute()}: taking the shipped configuration "
                    f"{found.stem}.",
                    file=sys.stderr,
                )
            values = str(found)
        super().__call__(parser, cfg, values, option_string)  # type: ignore[no-untyped-call]


def read_yaml(path: Path) -> Any:  # noqa: ANN401 (whatever YAML holds)
    """Read a YAML file.

    Raises:
        ConfigError: It is no YAML; the sentence names line and column.
        OSError: It cannot be read.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text: name a YAML file.") from error
    except yaml.YAMLError as error:
        raise syntax_error(path, error) from error


def syntax_error(path: str | Path, error: yaml.YAMLError) -> ConfigError:
    """Say in one sentence where and why a file is no YAML."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return ConfigError(f"{path} is not YAML ({' '.join(str(error).split())}): correct it.")
    mark, begun = error.problem_mark, error.context_mark
    told = str(error.problem)
    if error.context is not None:
        since = f" of line {begun.line + 1}" if begun and begun.line != mark.line else ""
        told = f"{error.context}{since}, {told}"
    return ConfigError(
        f"{path} is not YAML in line {mark.line + 1}, column {mark.column + 1} ({told}): correct "
        "it there."
    )


def _is_inline(value: str) -> bool:
    """Whether an option holds YAML itself: a mapping, and not a word."""
    try:
        return isinstance(yaml.safe_load(value), dict)
    except yaml.YAMLError:
        return "{" in value
