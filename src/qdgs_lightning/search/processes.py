"""What the processes of one run say to each other, so that all of them go on or all stop.

Every function that is called collective is called by all processes at the same point. Without
`torch.distributed` there is one process, and nothing is sent. No process waits in a call for longer
than the timeout of the process group; what takes long is therefore cut into pieces with a call
between them, and one process works alone only inside `first_alone`.
"""

import hashlib
import re
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.search.archive import Archive
from qdgs_lightning.utils.ranks import rank_and_world_size

Result = TypeVar("Result")
# Gloo has no exception of its own; this is how what it says begins or ends.
_GLOO = re.compile(r"gloo/|timeout caused pair closure")


class ProcessError(QDGSError):
    """Another process of this run is gone or has failed, so that this one cannot go on."""


def lost_process(error: BaseException) -> ProcessError | None:
    """Say in a sentence what an error of torch.distributed means.

    Args:
        error: Whatever a collective call, or a backward pass under DDP, raised.

    Returns:
        The sentence, if the error is of torch.distributed; otherwise None.
    """
    if not dist.is_available() or not isinstance(error, RuntimeError):
        return None
    if not isinstance(error, dist.DistError) and not _GLOO.search(str(error)):
        return None
    details = (str(error).splitlines() or [""])[0]
    details = re.sub(r"^\[[^]]*\] *", "", details).partition(". ")[0][:120]
    return ProcessError(
        "Another process of this run is gone, or kept this one waiting for longer than the timeout "
        f"of the process group ({details}): see what the others said last, and start the same "
        "command again; files that were saved before are whole."
    )


def add_up(values: Tensor) -> None:
    """Replace integers by their sums over all processes; collective.

    Args:
        values: On the CPU, of any shape; there must be several processes.

    Raises:
        ProcessError: Another process is gone, or did not come within the group's timeout.
    """
    # NCCL takes nothing from the CPU; Lightning has made this process's GPU the current one.
    sums = values.to("cuda") if dist.get_backend() == "nccl" else values
    try:
        dist.all_reduce(sums)
        values.copy_(sums)
    except RuntimeError as error:
        if (lost := lost_process(error)) is None:
            raise
        raise lost from error


def exchange(text: str) -> list[str]:
    """Tell all processes a text; collective.

    Args:
        text: A sentence, a hash or the like; empty for nothing, which costs least.

    Returns:
        The texts of all processes, by rank.

    Raises:
        ProcessError: Another process is gone.
    """
    rank, world = rank_and_world_size()
    if world == 1:
        return [text]
    said = torch.tensor(list(text.encode()), dtype=torch.uint8)
    sizes = torch.zeros(world, dtype=torch.int64)
    sizes[rank] = len(said)
    add_up(sizes)
    rows = torch.zeros(world, int(sizes.max()), dtype=torch.uint8)
    rows[rank, : len(said)] = said
    if rows.numel():
        add_up(rows)
    pairs = zip(rows.tolist(), sizes.tolist(), strict=True)
    return [bytes(row[:size]).decode() for row, size in pairs]


def together(work: Callable[[], Result]) -> Result:
    """Let every process do some work; if it fails on one, all of them stop; collective.

    Args:
        work: What to do, for a time far below the group's timeout and without a collective call.

    Returns:
        What `work` returned on this process.

    Raises:
        Exception: What `work` raised on this process.
        ProcessError: It failed on another process.

    Example:
        >>> archive = together(lambda: Archive.load(path))
    """
    failure: Exception | None = None
    try:
        result = work()
    except Exception as error:
        failure = error
    stop_together(failure)
    return result


def first_alone(work: Callable[[], object]) -> None:
    """Let the first process do some work; if it fails, all of them stop; collective.

    The others wait, so that such work is short: one file, one figure, one forward pass.

    Args:
        work: What to do, for a time far below the group's timeout and without a collective call.

    Raises:
        Exception: What `work` raised, on the first process.
        ProcessError: It failed there; on all others.
    """
    together(work if rank_and_world_size()[0] == 0 else lambda: None)


def stop_together(failure: Exception | None) -> None:
    """Go on if no process has failed; otherwise stop all of them with a reason; collective.

    Args:
        failure: What went wrong on this process, if anything did.

    Raises:
        Exception: `failure`.
        ProcessError: Another process has failed; with its sentence.
    """
    try:
        sentences = exchange("" if failure is None else str(failure) or type(failure).__name__)
    except ProcessError:
        if failure is None:
            raise
    if failure is not None:
        raise failure
    for rank, sentence in enumerate(sentences):
        if sentence:
            raise ProcessError(f"Process {rank} of this run has stopped: {sentence}")


def check_same(archive: Archive) -> None:
    """Make sure that all processes hold the same archive; collective.

    Raises:
        ProcessError: They do not, on all processes.
    """
    digest = hashlib.sha256()
    for field in (archive.latents, archive.cell, archive.objective):
        digest.update(field.contiguous().numpy().tobytes())
    first, *others = exchange(digest.hexdigest())
    strays = [str(rank) for rank, other in enumerate(others, start=1) if other != first]
    if strays:
        raise ProcessError(
            f"The archive of process {', '.join(strays)} differs from that of process 0, which "
            "must not be: let all processes read the same files, on devices of one kind and with "
            "the same versions of all packages, and start again from the last checkpoint."
        )
