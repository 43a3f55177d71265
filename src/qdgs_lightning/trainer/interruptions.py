"""Ctrl-C: what is kept of a command that was interrupted, and the line that goes on with it."""

import shlex
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_SAME = "the same line goes on"
_ANEW = "nothing of it is kept; start again with"
# What is said before the line, by command. `_kept` knows those that keep files of names that depend
# on options; all others keep nothing.
_KEPT = {
    "avatars-table": f"jobs that are done are kept; {_SAME}",
    "shapes-table": f"jobs that are done are kept; {_SAME}",
    "shapes-demo": "the runs of arms that are done lie in runs/; all arms begin again with",
    "avatars-data": "files that are done are kept; start again with",
}


class Interrupted(KeyboardInterrupt):
    """An interruption, with a sentence of what is kept and how to go on."""


@contextmanager
def ended_by_terminate() -> Iterator[None]:
    """Let SIGTERM, by which schedulers stop a job, end the block as Ctrl-C does.

    A handler that somebody else has set stays, as that of Lightning does in a fit; threads other
    than the main one set none.
    """
    try:
        before = signal.getsignal(signal.SIGTERM)
        if before is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ValueError:  # not the main thread
        before = None
    try:
        yield
    finally:
        if before is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def terminate_left_to_slurm() -> Iterator[None]:
    """Leave SIGTERM to Lightning where it runs as a SLURM job.

    A fit then ends after the step that it is at, by `SIGTERMException`, and where Lightning puts
    jobs into the queue again, its handler of the signal that comes for that can finish.
    """
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    if not SLURMEnvironment.detect():
        yield
        return
    try:
        before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def saying_what_is_kept(
    command: str,
    words: Sequence[str],
    values: Any,  # noqa: ANN401 (a mapping, or a namespace that is read as one)
) -> Iterator[None]:
    """Turn an interruption of a command into one that says what is kept.

    Args:
        command: Such as ``search``.
        words: Its options, as they were typed.
        values: Its options, parsed.

    Raises:
        Interrupted: In place of any `KeyboardInterrupt`, that of a fit within the command too.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:
        # Lightning turns Ctrl-C in a prediction, such as that of an export, into an exit.
        if not any(isinstance(e, KeyboardInterrupt) for e in (error, error.__context__)):
            raise
        raise Interrupted(f"{_kept(command, values)}: {line(command, words)}") from error


def of_fit(folder: Path, checkpoint: Path | None, words: Sequence[str]) -> str:
    """Say what is kept of a fit.

    Args:
        folder: Of the run.
        checkpoint: The newest one, if any was written.
        words: The options of the command, as they were typed.
    """
    config = folder / "config.yaml"
    if checkpoint is not None:
        return (
            f"{checkpoint} is kept; go on with: "
            f"{line('fit', ['--config', str(config), '--ckpt_path', str(checkpoint)])}"
        )
    archive = folder / "archive.safetensors"
    if archive.is_file():
        return (
            f"no checkpoint was written yet, but {archive} keeps the search: set `archive` of "
            f"QDRefresh to it, and start again with: {line('fit', words)}"
        )
    return f"no checkpoint was written yet; start again with: {line('fit', words)}"


def of_look(command: str, folder: Path, words: Sequence[str]) -> str:
    """Say that a look at a fit has to be taken anew.

    Args:
        command: ``validate``, ``test`` or ``predict``.
        folder: Of the look, which has its configuration, and perhaps more, but no report.
        words: The options of the command, as they were typed.
    """
    kept = f"{folder} holds no result of it" if folder.is_dir() else "nothing of it is kept"
    return f"{kept}; start again with: {line(command, words)}"


def line(command: str, words: Sequence[str]) -> str:
    """Write a command as it is typed into a shell."""
    return f"qdgs {command} {shlex.join(words)}".rstrip()


def _kept(command: str, values: Any) -> str:  # noqa: ANN401
    """Say what is kept of a command, as what stands before the line."""
    match command:
        case "search":
            return _of_search(values)
        case "export":
            output = Path(str(values["output"]))
            work = output.with_name(f"{output.name}.unfinished")
            if not work.is_dir():
                return _ANEW
            return f"images that were drawn are kept in {work}; {_SAME}"
        case "audit":
            output = Path(str(values["output"]))
            begun = any(output.glob("unfinished-*.safetensors"))
            return f"images that were annotated are kept in {output}; {_SAME}" if begun else _ANEW
    return _KEPT.get(command, _ANEW)


def _of_search(values: Any) -> str:  # noqa: ANN401
    """Say how far the archive file of a search is."""
    from qdgs_lightning.search.persistence.tree_file import read_tree

    path = Path(str(values["output"]))
    if not path.is_file():
        return f"{path} was not written yet; start again with"
    done = read_tree(path, "metadata")["metadata"]["evaluations"]
    return f"{path} keeps {done:,} of {values['evaluations']:,} evaluations; {_SAME}"
