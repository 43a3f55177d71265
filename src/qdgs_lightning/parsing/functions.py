"""Functions as commands: their signatures make the options."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from qdgs_lightning.parsing.parser import Parser


def function_parser(
    function: Callable[..., None], *, prog: str, summary: str | None = None
) -> Parser:
    """Make the parser of a function's arguments, which ``--config`` can give, too.

    Args:
        function: With typed keyword arguments and a docstring.
        prog: The command as it stands in help and errors, such as ``qdgs search``.
        summary: Head of the help; the first paragraph of the docstring where None.

    Example:
        >>> def draw(*, number: int = 3) -> None:
        ...     "Draw numbers."
        >>> function_parser(draw, prog="draw").parse_args(["--number=2"])["number"]
        2
    """
    if summary is None:
        summary = summary_of(function)
    parser = Parser(prog=prog, description=summary, allow_abbrev=False)
    parser.add_argument("-c", "--config", action="config", help="Options in a YAML file.")
    parser.add_function_arguments(function, as_group=False, sub_configs=True)
    return parser


def summary_of(function: Callable[..., None]) -> str:
    """Return the first paragraph of a function's docstring."""
    return (inspect.getdoc(function) or "").partition("\n\n")[0]


def parse_arguments(
    parser: Parser, function: Callable[..., None], words: Sequence[str]
) -> dict[str, Any]:
    """Parse words into a function's arguments, with classes instantiated.

    Args:
        parser: By `function_parser`, of the same function.
        function: Says which arguments there are.
        words: Such as ``["--config", "search.yaml", "--evaluations", "100"]``.

    Raises:
        ConfigError: They do not fit the signature.
    """
    values = parser.instantiate(parser.parse_args(list(words)))
    return {name: values[name] for name in inspect.signature(function).parameters}
