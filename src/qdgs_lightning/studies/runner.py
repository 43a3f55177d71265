"""Experiments of many runs: pieces that processes work off, each leaving a file; resumable."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Protocol, TypeVar

import torch

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.utils.progress import progress
from qdgs_lightning.utils.remarks import output_to


class TableError(QDGSError):
    """The experiment cannot be run as asked for."""


class Output(Protocol):
    """Experiments have a folder of everything that is made."""

    @property
    def output(self) -> Path:
        """Name the folder."""
        ...


E = TypeVar("E", bound=Output, contravariant=True)
T = TypeVar("T")


class Job(Protocol[E]):
    """A piece of an experiment, which ends with a file."""

    def file(self, experiment: E) -> Path:
        """Name what is made, last of all."""
        ...

    def needs(self, experiment: E) -> list[Path]:
        """Name what must be there before."""
        ...

    def run(self, experiment: E) -> None:
        """Make it."""
        ...

    def outcome(self, experiment: E) -> str:
        """Say in a line what came of it."""
        ...


def distinct(values: T | tuple[T, ...], *, option: str) -> tuple[T, ...]:
    """List what an option names, each once: a run that counted twice would narrow intervals.

    Args:
        values: One value or several.
        option: Name of the option.

    Raises:
        TableError: There is none.
    """
    if values == ():
        raise TableError(f"--{option} is empty: name at least one.")
    return tuple(dict.fromkeys(values if isinstance(values, tuple) else (values,)))


def work_off(left: Sequence[Job[E]], experiment: E, processes: int) -> None:
    """Do all jobs, each as soon as what it needs is there, and show how far things are.

    Args:
        left: Jobs whose files are missing, those first that take long or that others wait for.
        experiment: Theirs.
        processes: How many work at once.

    Raises:
        TableError: One of them failed.
        KeyboardInterrupt: The command was interrupted. Jobs were so too, and have ended.
    """
    if not left:
        return
    context = multiprocessing.get_context("spawn")
    workers = ProcessPoolExecutor(
        min(processes, len(left)), mp_context=context, initializer=end_with_parent
    )
    with workers as pool, progress("Working", len(left), unit="jobs") as meter:
        try:
            for job, seconds in _finished(left, experiment, pool, processes):
                meter.print(f"{job.outcome(experiment)} ({seconds:.0f} CPU-s)")
                meter.advance()
        except TableError:
            meter.print("A job has failed; those that run are finished first.")
            raise
        except BrokenProcessPool as error:
            raise TableError(
                "A process was killed, perhaps for lack of memory: start again with fewer --jobs."
            ) from error
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            _end_workers()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _finished(
    left: Sequence[Job[E]], experiment: E, pool: ProcessPoolExecutor, processes: int
) -> Iterator[tuple[Job[E], float]]:
    """Hand jobs to the pool when they are ready, and yield them when they are done."""
    waiting = list(left)
    running: dict[Future[float], Job[E]] = {}
    while waiting or running:
        ready = [j for j in waiting if all(p.is_file() for p in j.needs(experiment))]
        for job in ready[: processes - len(running)]:
            waiting.remove(job)
            with _ignoring_interrupts():  # workers inherit that, and listen while they have a job
                running[pool.submit(work, job, experiment)] = job
        if not running:
            raise TableError(f"{experiment.output} lost files while runs needed them: start again.")
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            yield running.pop(future), future.result()


def work(job: Job[E], experiment: E) -> float:
    """Do one job in a process of its own, on one thread, its output going to a file.

    Args:
        job: What to do.
        experiment: For which.

    Returns:
        CPU seconds that it took.

    Raises:
        TableError: It failed; the sentence names the file that says why.
    """
    torch.set_num_threads(1)
    started = time.process_time()
    log = experiment.output / "logs" / f"{job.file(experiment).stem}_{type(job).__name__}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with output_to(log), _interruptible():
            job.run(experiment)
    except (Exception, SystemExit) as error:
        raise TableError(f"The {job} failed ({error}): see {log}, and start again.") from None
    return time.process_time() - started


def end_with_parent() -> None:
    """Make this worker end when the process that started it does, however that was killed.

    Otherwise workers of a killed command wait for jobs for ever, each with its memory.
    """
    parent = multiprocessing.parent_process()

    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _end_workers(seconds: float = 10.0) -> None:
    """Let jobs end as Ctrl-C does, and kill those that do not.

    Their process gets the signal again and again: a new one hears it only when its job begins, and
    whoever signals the command may have signalled the command alone.

    Args:
        seconds: How long jobs may take to end. A second Ctrl-C kills them at once.
    """
    until = time.monotonic() + seconds
    try:
        while (workers := multiprocessing.active_children()) and time.monotonic() < until:
            for worker in workers:
                if worker.pid is not None:
                    with suppress(ProcessLookupError):  # it has ended since, and was waited for
                        os.kill(worker.pid, signal.SIGINT)
            workers[0].join(timeout=0.2)
    finally:
        for worker in multiprocessing.active_children():
            worker.kill()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end the block, once: a second signal must not end what cleans up."""
    ended = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal ended
        if not ended:
            ended = True
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C in the block, and in processes that it starts until they say otherwise."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
