"""The base of every error that a user can cause, and how to guess what was meant."""

from collections.abc import Iterable
from difflib import get_close_matches


class QDGSError(ValueError):
    """A mistake in what was asked for, in one sentence: what is wrong, where, what to do next.

    The command line prints the sentence alone and ends with a non-zero status; with
    ``QDGS_DEBUG=1`` in the environment it shows the traceback instead.
    """


class ConfigError(QDGSError):
    """An option, a YAML key, a class name or a value that no command understands."""


def did_you_mean(unknown: str, known: Iterable[str], *, prefix: str = "") -> str:
    """Suggest a spelling.

    Args:
        unknown: The name that was not understood, perhaps dotted.
        known: The names that would have been.
        prefix: What to write before the suggestion.

    Returns:
        ``" (did you mean 'x'?)"``, or nothing where no known name is close. Where already the
        first part of a dotted name is unknown, only that part is suggested.
    """
    names = set(known)
    root = unknown.partition(".")[0]
    roots = {name.partition(".")[0] for name in names}
    if root != unknown and root not in roots:
        unknown, names = root, roots
    match = get_close_matches(unknown, sorted(names), n=1)
    return f" (did you mean '{prefix}{match[0]}'?)" if match else ""
