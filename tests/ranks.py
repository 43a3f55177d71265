"""Processes that compute together, as those of one run do."""

import multiprocessing
import os
import tempfile
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
import torch.distributed as dist

from qdgs_lightning.errors import QDGSError

# The server imports what takes long once, and each process is a copy of it.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["torch", "lightning.pytorch", "qdgs_lightning.callbacks", "qdgs_lightning.tasks"]
)


def start_ranks(
    work: Callable[..., None],
    folder: Path,
    *args: object,
    world: int = 2,
    timeout: float = 60,
) -> list[BaseProcess]:
    """Start processes that know each other; one alone needs no process group.

    Args:
        work: Called in each process with its rank, the folder and `args`. A complaint for the user
            goes to ``stopped<rank>.txt`` and ends the process with status 1, as ``qdgs`` does.
        folder: Where they write.
        args: What else they need to know.
        world: How many.
        timeout: Seconds that a collective call may take.
    """
    folder.mkdir(parents=True, exist_ok=True)
    meeting = tempfile.mktemp(dir=folder, prefix="meeting")
    processes: list[BaseProcess] = [
        _CONTEXT.Process(target=_enter, args=(work, rank, world, folder, meeting, timeout, args))
        for rank in range(world)
    ]
    for process in processes:
        process.start()
    return processes


def end_ranks(processes: list[BaseProcess]) -> list[int | None]:
    """Wait for processes, and return their exit codes."""
    for process in processes:
        process.join(100)
    return [process.exitcode for process in processes]


def _enter(
    work: Callable[..., None],
    rank: int,
    world: int,
    folder: Path,
    meeting: str,
    timeout: float,
    args: tuple[object, ...],
) -> None:
    """Meet the others, and work."""
    torch.set_num_threads(1)
    if world > 1:
        os.environ["LOCAL_RANK"] = str(rank)  # tells Lightning that it need not start the others
        store = dist.FileStore(meeting, world)  # type: ignore[attr-defined]
        names = [f"here{number}" for number in range(world)]
        store.set(names[rank], "")
        store.wait(names, timedelta(seconds=60))  # so that a short timeout is not one for starting
        dist.init_process_group(
            "gloo",
            store=store,
            rank=rank,
            world_size=world,
            timeout=timedelta(seconds=timeout),
        )
    try:
        work(rank, folder, *args)
    except QDGSError as error:
        (folder / f"stopped{rank}.txt").write_text(f"{type(error).__name__}: {error}")
        raise SystemExit(1) from None
