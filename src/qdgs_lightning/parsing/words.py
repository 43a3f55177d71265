"""The words of a command line, before any parser sees them."""

import inspect
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path

from qdgs_lightning.errors import ConfigError


def nameable(function: Callable[..., object]) -> list[str]:
    """List the arguments that may be given without their names: required paths and names.

    Args:
        function: A command.

    Returns:
        The parameters that come first, have no default, and are a `Path` or a `str`.
    """
    parameters = inspect.signature(function).parameters.values()
    first = takewhile(
        lambda p: p.default is inspect.Parameter.empty and p.annotation in (Path, str), parameters
    )
    return [parameter.name for parameter in first]


def spell_out(words: Sequence[str], names: Sequence[str]) -> list[str]:
    """Put the names of options before values that stand first without one.

    Args:
        words: Those of a command: values, then options.
        names: The options that the values are of, in their order; see `nameable`.

    Returns:
        Options alone.

    Raises:
        ConfigError: There are more values than names.

    Example:
        >>> spell_out(["faces", "--sample", "10"], ["path"])
        ['--path=faces', '--sample', '10']
    """
    values = list(takewhile(lambda word: not word.startswith("-"), words))
    if len(values) > len(names):
        taken = f"it takes {' and '.join(map(str.upper, names))} so" if names else "it takes none"
        raise ConfigError(
            f"'{values[len(names)]}' stands there without an option, and {taken}: give options "
            "as --name value, of which --help has the names."
        )
    named = [f"--{name}={value}" for name, value in zip(names, values, strict=False)]
    return [*named, *words[len(values) :]]


def with_null(words: Sequence[str]) -> list[str]:
    """Write Python's None as YAML has it.

    W&B's agent, and others that start runs from Python, write ``--option=None`` for null, which
    YAML would read as a word.

    Example:
        >>> with_null(["--a=None", "--b", "None", "None"])
        ['--a=null', '--b', 'null', 'None']
    """
    spelt: list[str] = []
    for word in words:
        if word.startswith("--") and word.endswith("=None"):
            spelt.append(f"{word[: -len('None')]}null")
        elif word == "None" and spelt and spelt[-1].startswith("--") and "=" not in spelt[-1]:
            spelt.append("null")
        else:
            spelt.append(word)
    return spelt
