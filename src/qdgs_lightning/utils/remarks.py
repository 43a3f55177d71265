"""Output of other libraries: kept off the terminal where it says nothing about the run."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

_LOGGERS = ("lightning.pytorch", "lightning.fabric")
_LIBRARIES = r"(lightning|torch|torchvision|torchmetrics|wandb|timm|open_clip|ribs|jsonargparse)\b"
# Lines of Lightning that begin so: advertisements, and echoes of what was asked for. It has no
# switch for them.
_CHATTER = ("💡 Tip", "TPU available", "Using bfloat16 Automatic", "Using 16bit Automatic")
# A look at a fit has a folder of its own, and saves no checkpoint.
_MOVED = r"The dirpath has changed from"
_OURS = Path(__file__).parents[1]
_INSTALLED = {"site-packages", "dist-packages"}


def shows_everything() -> bool:
    """Whether ``QDGS_DEBUG`` asks for all that other libraries have to say."""
    return bool(os.environ.get("QDGS_DEBUG"))


@contextmanager
def without_remarks() -> Iterator[None]:
    """Leave out advertisements and deprecations of other libraries, which users cannot act on.

    Warnings and errors about the run stay, but the lines of installed code that warn are not named.
    With ``QDGS_DEBUG=1`` everything does.
    """
    if shows_everything():
        yield
        return
    handlers = [each for name in _LOGGERS for each in logging.getLogger(name).handlers]
    before = warnings.formatwarning
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_MOVED, module=_LIBRARIES)
        for category in (DeprecationWarning, FutureWarning):
            warnings.filterwarnings("ignore", category=category, module=_LIBRARIES)
        for handler in handlers:
            handler.addFilter(_is_no_chatter)

        def format_warning(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            line: str | None = None,
        ) -> str:
            """Name the place of a warning only where it is the user's own code."""
            path = Path(filename)
            if path.is_relative_to(_OURS) or _INSTALLED.intersection(path.parts):
                return f"Warning: {message}\n"
            return before(message, category, filename, lineno, line)

        warnings.formatwarning = format_warning
        try:
            yield
        finally:
            warnings.formatwarning = before
            for handler in handlers:
                handler.removeFilter(_is_no_chatter)


@contextmanager
def output_to(path: Path, *, append: bool = False) -> Iterator[None]:
    """Send what is printed, logged and warned of to a file.

    Args:
        path: The file; its folder must be there.
        append: Whether to go on in a file that is there, instead of replacing it.
    """
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.handlers for logger in loggers]
    with path.open("a" if append else "w") as file:
        for logger in loggers:
            logger.handlers = [logging.StreamHandler(file)]
        try:
            with (
                redirect_stdout(file),
                redirect_stderr(file),
                warnings.catch_warnings(action="ignore"),
            ):
                yield
        finally:
            for logger, handlers in zip(loggers, before, strict=True):
                logger.handlers = handlers


def _is_no_chatter(record: logging.LogRecord) -> bool:
    """Whether a handler is to take a record."""
    return not record.getMessage().startswith(_CHATTER)
