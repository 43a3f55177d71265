"""``qdgs search``: grow or continue an archive of elites."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from lightning.fabric import Fabric

from qdgs_lightning.generators import Generator
from qdgs_lightning.guidance import Guidance
from qdgs_lightning.search import Coverage, QDSearch, SearchConfig, SearchError
from qdgs_lightning.search.persistence.resume import run_and_save
from qdgs_lightning.search.persistence.tree_file import ArchiveError
from qdgs_lightning.utils.atomic_files import reserved
from qdgs_lightning.utils.console import say
from qdgs_lightning.utils.precision import MatmulPrecision


def search(
    *,
    generator: Generator,
    guidance: Guidance,
    search: SearchConfig,
    output: Path,
    evaluations: int = 20_000,
    save_every_seconds: float = 60.0,
    accelerator: str = "auto",
    devices: int = 1,
    float32_matmul_precision: MatmulPrecision = "highest",
) -> None:
    """Grow an archive of elites, or continue one.

    The archive file holds all that is needed to go on. A run that was stopped, even by kill -9,
    and started again by the same command ends with the same archive, bit for bit on a CPU with as
    many threads; a higher number of evaluations continues a finished one. Ctrl-C saves what has
    been evaluated at the end of the iteration.

    Args:
        generator: Whose latents to search.
        guidance: What judges the images.
        search: How to search.
        output: The archive file, ending in .safetensors; continued if it exists.
        evaluations: How many latents may be evaluated in all, those of earlier runs included.
        save_every_seconds: How much work kill -9 may cost; 0 saves after every iteration.
        accelerator: Where to compute: cpu, cuda, mps, or auto.
        devices: On how many processes or GPUs to evaluate; their number changes nothing but
            the last digits, if threads are not as many.
        float32_matmul_precision: How exact products of float32 matrices are; high allows TF32.

    Raises:
        SearchError: The number of evaluations is not positive or too small, there is no such
            accelerator, or the archive file comes from another generator, guidance or search
            configuration.
        ArchiveError: The archive file has another ending, cannot be read or written, or another
            process writes it.
        EvaluationError: The generator or the guidance returned something unusable.
        ProcessError: Another process is gone, or has failed.
    """
    if evaluations < 1 or devices < 1:
        name, value = ("evaluations", evaluations) if evaluations < 1 else ("devices", devices)
        raise SearchError(f"{name} is {value}; give a whole number of at least 1.")
    if output.is_dir():
        raise ArchiveError(f"The archive cannot be saved to {output}, a folder: name a file.")
    if output.suffix != ".safetensors":
        raise ArchiveError(f"output is {output}; give a name that ends in .safetensors.")
    torch.set_float32_matmul_precision(float32_matmul_precision)
    fabric = _fabric(accelerator, devices)
    with _reserved_by_first(fabric, output):
        generator.prepare()
        guidance.prepare()
        generator.to(fabric.device)
        guidance.to(fabric.device)
        quest = QDSearch(generator, guidance, search)
        if output.exists():
            quest.load(output)
        budget = evaluations - quest.evaluations
        if quest.evaluations == 0 or budget >= quest.minimum:
            run_and_save(
                quest,
                budget,
                path=output,
                every_seconds=save_every_seconds,
                shown=fabric.is_global_zero,
            )
    if fabric.is_global_zero:
        stats = quest.stats
        say(
            f"{output} holds {stats.num_elites} elites of {quest.evaluations} evaluations: "
            f"QD-score {stats.qd_score:.1f}, best {stats.obj_max:.2f}, mean {stats.obj_mean:.2f}.",
            *_coverage_lines(quest, guidance),
        )


def _coverage_lines(quest: QDSearch, guidance: Guidance) -> list[str]:
    """Say how much is covered of what can be filled, and of which cells at all."""
    archive = quest.archive
    of_latents = guidance.latent_measures(archive.latents[:1]).shape[1]
    judged = range(len(guidance.measure_names) - of_latents)
    coverage = Coverage.of(archive, measures=judged if judged else None)
    counts = []
    if coverage.budget.cells < coverage.all.cells:
        counts.append((coverage.budget, f"of what {quest.evaluations:,} evaluations can fill"))
    if coverage.prior is not None:
        counts.append((coverage.prior, "of the cells inside the prior"))
    if of_latents and judged:
        names = " x ".join(guidance.measure_names[: len(judged)])
        counts.append((coverage.axes, f"of the cells of {names}"))
    counts.append((coverage.all, "of all cells"))
    return [
        f"  coverage {count.share:.1%} {what} ({count.filled:,} of {count.cells:,})"
        for count, what in counts
    ]


def _fabric(accelerator: str, devices: int) -> Fabric:
    """Start the processes.

    Raises:
        SearchError: This machine has no such accelerator, or not so many devices.
    """
    strategy = "ddp" if devices > 1 else "auto"
    try:
        fabric = Fabric(accelerator=accelerator, devices=devices, strategy=strategy)
    except (ValueError, RuntimeError) as error:
        raise SearchError(
            f"accelerator is {accelerator} and devices is {devices}, which cannot be had here "
            f"({error}); give others, such as cpu and 1."
        ) from error
    fabric.launch()
    return fabric


@contextmanager
def _reserved_by_first(fabric: Fabric, output: Path) -> Iterator[None]:
    """Let one process reserve the output for all, and end all of them if it cannot."""
    with ExitStack() as stack:
        complaint = ""
        if fabric.is_global_zero:
            try:
                stack.enter_context(reserved(output, ArchiveError))
            except ArchiveError as error:
                complaint = str(error)
        if complaint := fabric.broadcast(complaint):
            raise ArchiveError(complaint)
        yield
