"""What a run needs of the machine: disk, memory, processors, and what is installed."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger

import qdgs_lightning
from qdgs_lightning.datamodules import SyntheticFaceDataModule
from qdgs_lightning.doctor.context import Plan
from qdgs_lightning.doctor.findings import Finding, ok, warning, wrong
from qdgs_lightning.identities.drawer import precision_of
from qdgs_lightning.reporting.loggers import keep_wandb_offline_without_key
from qdgs_lightning.search.emitters.factory import ANNEALED_ALGORITHMS, LEARNING_ALGORITHMS
from qdgs_lightning.tasks import FaceRecognizer
from qdgs_lightning.utils.units import size

_PACKAGES = ("qdgs-lightning", "torch", "lightning", "ribs")
_COPIES = 3  # of an archive in memory: the search's, the datamodule's, and one while it is saved
_LEARNT = 2**25  # bytes of what a search that learns keeps beside its elites
_STATES = 3  # numbers per weight in a checkpoint: itself, and Adam's two


def archive_bytes(plan: Plan) -> int:
    """Return the most that the elites of a run can take: a latent and a few numbers per cell.

    A search never holds more elites than it has evaluated latents; an annealing algorithm has two
    archives.
    """
    if plan.search is None or plan.generator is None or not plan.can_draw:
        return 0
    rows = min(torch.Size(plan.search.grid).numel(), plan.evaluations)
    archives = 2 if plan.search.algorithm in ANNEALED_ALGORITHMS else 1
    elites = rows * 4 * (plan.generator.latent_size + len(plan.search.grid) + 2) * archives
    return elites + _LEARNT * (plan.search.algorithm in LEARNING_ALGORITHMS)


def cache_bytes(plan: Plan) -> int:
    """Return the size of the images that a process keeps, in bytes a colour."""
    data = plan.data
    if not isinstance(data, SyntheticFaceDataModule) or data.cache == "none":
        return 0
    if plan.command == "test":
        return 0
    images = data.samples_per_epoch * plan.num_edits
    return images * 3 * data.image_size**2 // plan.processes


def checkpoint_bytes(plan: Plan) -> tuple[int, int]:
    """Return the size of one checkpoint of a fit, and how many are kept, both at most."""
    if plan.model is None or plan.settings.get("enable_checkpointing") is False:
        return 0, 0
    if plan.command == "test":
        return 0, 0
    weights = sum(parameter.numel() for parameter in plan.model.parameters())
    if isinstance(plan.model, FaceRecognizer) and plan.num_classes is not None:
        weights += plan.num_classes * int(cast(Any, plan.model.backbone).embedding_dim)
    savers = [c for c in plan.callbacks if isinstance(c, ModelCheckpoint)] or [ModelCheckpoint()]
    kept = sum(
        (saver.save_top_k if saver.save_top_k >= 0 else plan.max_epochs or 1)
        + bool(saver.save_last)
        for saver in savers
    )
    return 4 * weights * _STATES + archive_bytes(plan), kept


def check_disk(plan: Plan) -> Iterator[Finding]:
    """Compare what a run may write with the free space where it goes."""
    if plan.command != "search" and plan.model is None:
        return
    folder = plan.folder.absolute()
    while not folder.exists():
        folder = folder.parent
    archive, (checkpoint, kept) = archive_bytes(plan), checkpoint_bytes(plan)
    # A new file is written before the old one goes.
    needed = 2 * archive + (kept + 1) * checkpoint if kept else 2 * archive
    free = shutil.disk_usage(folder).free
    parts = [f"archive {size(archive)}"] if archive else []
    parts += [f"{kept} checkpoint(s) of {size(checkpoint)}"] if kept else []
    told = f"{plan.folder} has {size(free)} free, and a run writes at most {size(needed)}"
    told += f" ({', '.join(parts)}, while the new replaces the old)" if parts else ""
    if not os.access(folder, os.W_OK):
        yield wrong("disk", f"{folder} cannot be written", "choose another place for the run")
    elif free < needed:
        # A bound from above: whether the run would end here is not known before one of them is.
        say = wrong if free < (checkpoint - archive) / _STATES else warning
        yield say("disk", told, "free space, choose another place, or keep fewer checkpoints")
    else:
        yield ok("disk", told, free=free, needed=needed)


def check_memory(plan: Plan) -> Iterator[Finding]:
    """Compare the largest possible archive, and a cache of images, with the memory that is free."""
    archive, cache, available = archive_bytes(plan), cache_bytes(plan), _available_memory()
    data, on_device = plan.data, plan.device.type == "cuda"
    cached_there = (
        on_device and isinstance(data, SyntheticFaceDataModule) and data.cache == "device"
    )
    parts, needed = [], 0
    if archive and plan.search is not None and plan.generator is not None:
        rows = min(torch.Size(plan.search.grid).numel(), plan.evaluations)
        parts.append(
            f"{rows:,} elites at most x {plan.generator.latent_size:,} numbers take "
            f"{size(archive)}, in up to {_COPIES} copies"
        )
        needed += _COPIES * archive
    if cache and not cached_there:
        parts.append(f"the cache of images takes {size(cache)}")
        needed += cache
    here = max(1, plan.processes // int(plan.settings.get("num_nodes", 1)))
    if parts and here > 1:
        parts.append(f"in each of {here} processes")
    free = "unknown" if available is None else size(available)
    told = "; ".join([*parts, f"free: {free}"])
    if available is not None and needed * here > available:
        advice = "take a coarser grid, a smaller latent space or no cache, or bring memory"
        yield warning("memory", told, advice, archive=archive, cache=cache)
    else:
        yield ok("memory", told, archive=archive, cache=cache)
    if on_device:
        free_there, total = torch.cuda.mem_get_info(plan.device)
        name = torch.cuda.get_device_name(plan.device)
        say = f"{name}: {size(free_there)} of {size(total)} are free"
        if cached_there:
            say += f", for a cache of {size(cache)} among others"
        if free_there < total / 2 or (cached_there and cache > free_there / 2):
            advice = "see who else computes there (nvidia-smi), or cache on the host"
            yield warning("GPU memory", say, advice, free=free_there)
        else:
            yield ok("GPU memory", say, free=free_there)


def check_processors(plan: Plan) -> Iterator[Finding]:
    """Compare processes that decode images with the processors, and with shared memory."""
    affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if affinity else os.cpu_count() or 1
    data = plan.faces
    if data is None or not data.num_workers:
        yield ok("processors", f"{cores}", cores=cores)
        return
    nodes = int(plan.settings.get("num_nodes", 1))
    here = max(1, plan.processes // nodes)
    workers = data.num_workers * here
    told = f"{cores} for {workers} processes that decode"
    if workers > cores:
        yield warning("processors", told, f"set `num_workers` to {max(1, cores // here)} or less")
    else:
        yield ok("processors", told, cores=cores)
    shared = Path("/dev/shm")
    if not shared.is_dir():
        return
    batch = max(data.batch_size, data.eval_batch_size) * 3 * data.image_size**2
    needed, total = 2 * batch * data.prefetch_factor * workers, shutil.disk_usage(shared).total
    told = f"{shared} has {size(total)} for batches of {size(needed)} at most"
    if total < needed:
        yield warning("shared memory", told, "enlarge it (docker run --shm-size 8g)")
    else:
        yield ok("shared memory", told, total=total)


def check_precision(plan: Plan) -> Iterator[Finding]:
    """Find out whether the device computes in the precision that is asked for."""
    precision, device = str(plan.settings.get("precision") or "32-true"), plan.device.type
    generator, data = plan.generator, plan.data
    own = precision_of(generator, None)
    drawing = data.draw_precision if isinstance(data, SyntheticFaceDataModule) else None
    halves = {own, drawing or own}
    trouble = []
    if device == "cpu":
        if precision.startswith("16") or "float16" in halves:
            trouble.append("float16, which CPUs have not (Lightning takes bfloat16 for 16-mixed)")
        elif "bfloat16" in halves:
            trouble.append("bfloat16, in which CPUs without it draw 15 times as slowly")
    elif device == "cuda":
        asked = precision.startswith("bf16") or "bfloat16" in halves
        if asked and not torch.cuda.is_bf16_supported(including_emulation=False):
            trouble.append("bfloat16, which this GPU has not")
    asked_for = [f"precision {precision}"] if plan.command != "search" else []
    asked_for += [f"generator in {own}"] if generator is not None else []
    asked_for += [f"images drawn in {drawing}"] if drawing is not None else []
    told = f"{', '.join(asked_for) or 'float32'} on {device}"
    if trouble:
        advice = "set another precision, or run where the hardware has it"
        yield warning("precision", f"{told} asks for {trouble[0]}", advice)
    else:
        yield ok("precision", told)


def check_wandb(plan: Plan) -> Iterator[Finding]:
    """Say whether W&B gets the run now or later."""
    if not any(isinstance(logger, WandbLogger) for logger in plan.loggers):
        return
    before = os.environ.get("WANDB_MODE")
    keep_wandb_offline_without_key()  # as a fit does; the environment is given back in the end
    mode = os.environ.get("WANDB_MODE", "online")
    if mode == "offline" and before is None:
        yield warning(
            "W&B",
            "there is no key, so that the run stays on this disk",
            "set WANDB_API_KEY, run `wandb login`, or upload later by `wandb sync`",
        )
    else:
        yield ok("W&B", f"{mode}, by {'WANDB_MODE' if before else 'a key'}")


def check_versions(plan: Plan) -> Iterator[Finding]:
    """Name what decides results: versions, CUDA, and the revision of the source."""
    names = [f"{name} {version(name)}" for name in _PACKAGES]
    cuda = torch.version.cuda
    names.append(f"CUDA {cuda}" if cuda else "no CUDA")
    yield ok("versions", ", ".join(names))
    source = Path(qdgs_lightning.__file__).parent
    revision = _git(source, "rev-parse", "--short", "HEAD")
    if revision is None:
        yield ok("revision", "the package is not in a git repository")
    elif _git(source, "status", "--porcelain", "--", "."):
        yield warning(
            "revision",
            f"{revision}, with changes that are not committed",
            "commit them, so that the run can be repeated",
        )
    else:
        yield ok("revision", revision)


def _available_memory() -> int | None:
    """Bytes that processes may still take, by the kernel and the container; None if unknown."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(int(li.split()[1]) for li in lines if li.startswith("MemAvailable")) * 1024
    except (OSError, StopIteration, ValueError):
        return None
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        return min(available, limit - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # another kind of container, or "max"
        return available


def _git(folder: Path, *words: str) -> str | None:
    """Ask git something; None where it does not answer."""
    try:
        told = subprocess.run(
            # Looking at the state of files would otherwise write the index anew.
            ["git", "--no-optional-locks", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip()
