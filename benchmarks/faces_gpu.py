"""Time what training on faces costs on a GPU: evaluations of the search, drawing, and the cache.

Run by hand, offline, on a machine with a GPU, for a few minutes:

    python -m benchmarks.faces_gpu

Prints two tables for docs/results/faces.md. The first has evaluations with Jacobian of a StyleGAN2
of FFHQ-256's size under ViT-B/32 (random weights: speed does not ask what they are), in batches
against the published scheme of one latent and one value at a time; work is all that is computed
forward and backward, by torch's counter, and its ceiling one large matrix product of the same type.
The second has training steps of IR-101 under AdaFace in bfloat16 on
images out of the cache or drawn anew against ready ones. All is measured in one process.
"""

import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import get_args

import torch
from benchmarks.faces import avatar_prompts, ffhq_sized
from benchmarks.jacobian import published
from benchmarks.recognition import sgd
from benchmarks.recognition_gpu import step
from benchmarks.stylegan2_gpu import flops_of, measure_ceiling, seconds_of
from jsonargparse import auto_cli
from torch import Tensor

from qdgs_lightning.generators import StyleGAN2Generator
from qdgs_lightning.guidance import PromptGuidance
from qdgs_lightning.identities import IdentityTable, PrincipalEdits
from qdgs_lightning.identities.drawer import FaceDrawer
from qdgs_lightning.identities.image_cache import ImageCache
from qdgs_lightning.models import AdaFace, create_backbone
from qdgs_lightning.search import evaluate
from qdgs_lightning.utils.precision import Precision
from qdgs_lightning.weights import packaged_weights

# How products in float32 are computed, as torch says it; the generator's precision; whether the
# rest is in bfloat16 too; and the type whose products are the ceiling.
WAYS: dict[str, tuple[str, Precision, bool, torch.dtype]] = {
    "float32, TF32 in convolutions": ("highest", "float32", False, torch.float32),
    "TF32": ("high", "float32", False, torch.float32),
    "generator bfloat16, else TF32": ("high", "bfloat16", False, torch.bfloat16),
    "all bfloat16 (autocast)": ("high", "bfloat16", True, torch.bfloat16),
}


def work_of(
    generator: StyleGAN2Generator, guidance: PromptGuidance, latents: Tensor
) -> tuple[int, int]:
    """Return operations of a pass forward, and of one back from a value to the latents."""

    def forward() -> tuple[Tensor, Tensor]:
        point = latents.clone().requires_grad_() * 1  # the counter takes no leaf
        return guidance(generator(point), point).objective.sum(), point

    forwards = flops_of(forward)
    return forwards, flops_of(lambda: torch.autograd.grad(*forward())) - forwards


def compare_evaluations(
    generator: StyleGAN2Generator,
    guidance: PromptGuidance,
    place: torch.device,
    *,
    batches: tuple[int, ...],
    matrix: int,
    at_least: float,
) -> None:
    """Print evaluations with Jacobian per second, in batches and as published."""
    latents = generator.sample_latents(max(batches), torch.Generator().manual_seed(0))
    torch.set_float32_matmul_precision("high")  # the ceiling of float32 is that of TF32
    ceilings = {
        dtype: measure_ceiling(dtype, place, size=matrix)
        for dtype in (torch.float32, torch.bfloat16)
    }
    for dtype, ceiling in ceilings.items():
        print(f"{dtype}: one matrix product makes {ceiling / 1e12:.3g} Tflop/s")
    print("\n| evaluations with Jacobian | latents at once | a second | x published | of ceiling |")
    print("|---|---:|---:|---:|---:|")

    values = 1 + len(guidance.measure_names)
    forward, backward = work_of(generator, guidance, latents[:1].to(place))

    def show(name: str, size: int, seconds: float, work: int, dtype: torch.dtype) -> float:
        share, ratio = size * work / seconds / ceilings[dtype], reference * size / seconds
        print(f"| {name} | {size} | {size / seconds:.3g} | {ratio:.2f} | {share:.2%} |", flush=True)
        return ratio

    torch.set_float32_matmul_precision("highest")  # torch's default, in which theirs runs
    theirs = partial(published, generator, guidance, latents[:1].to(place))
    reference = seconds_of(theirs, place, at_least=at_least)
    work = values * (forward + backward)
    show("as published, float32", 1, reference, work, torch.float32)
    best: dict[str, float] = {}
    for name, (products, precision, autocast, dtype) in WAYS.items():
        torch.set_float32_matmul_precision(products)
        generator.precision = precision
        for size in batches:
            job = partial(
                evaluate, generator, guidance, latents[:size], jacobian=True, batch_size=size
            )
            with torch.autocast(place.type, dtype=torch.bfloat16, enabled=autocast):
                seconds = seconds_of(job, place, at_least=at_least)
            ratio = show(name, size, seconds, forward + values * backward, dtype)
            best[name] = max(ratio, best.get(name, 0.0))
    torch.set_float32_matmul_precision("highest")
    generator.precision = "float32"
    told = ", ".join(f"{ratio:.1f} ({name})" for name, ratio in best.items())
    print(f"\nTimes the published scheme, at the best batch: {told}; target >= 15 on a GPU\n")


def compare_steps(
    generator: StyleGAN2Generator,
    backbone: str,
    place: torch.device,
    *,
    batch_size: int,
    at_least: float,
    repeats: int,
) -> None:
    """Print what a training step costs by where its images come from; medians, in turns."""
    numbers = torch.arange(batch_size)
    latents = generator.sample_latents(batch_size, torch.Generator().manual_seed(0))
    table = IdentityTable(
        latents=latents, classes=numbers // 2, bins=0 * numbers, bin_names=("all",)
    )
    drawers: dict[Precision, FaceDrawer] = {}
    for precision in get_args(Precision):
        drawers[precision] = FaceDrawer(
            generator,
            edits=PrincipalEdits(),
            align="ffhq",
            image_size=112,
            precision=precision,
        )
        drawers[precision].place(table, place)
    drawer = drawers["bfloat16"]
    rows = torch.randperm(batch_size * drawer.num_edits, generator=torch.Generator().manual_seed(0))
    batches = torch.split(rows, batch_size)
    caches = {
        name: ImageCache(side=112, device=where, rank=0, world=1)
        for name, where in (("device", place), ("host", torch.device("cpu")))
    }
    for cache in caches.values():
        cache.renew(torch.arange(batch_size), edits=drawer.num_edits)
        for batch in batches:
            cache.get(batch, drawer.draw)
    ready = {batch: caches["device"].get(batch, drawer.draw) for batch in batches}
    ways: dict[str, Callable[[Tensor], Tensor]] = {"ready on the device": ready.__getitem__}
    for name, cache in caches.items():
        ways[f"from a cache on the {name}"] = partial(cache.get, draw=drawer.draw)
    for precision, each in drawers.items():
        ways[f"drawn in {precision}"] = each.draw

    network = create_backbone(backbone).train().to(place)
    head = AdaFace(network.embedding_dim, 2778).to(place)
    optimizer = sgd([*network.parameters(), *head.parameters()])

    def epoch(images: Callable[[Tensor], Tensor]) -> None:
        for batch in batches:
            pixels = images(batch).to(place).float() / 255
            step(network, head, optimizer, (pixels, drawer.classes(batch)))

    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, images in ways.items():
            seconds = seconds_of(partial(epoch, images), place, at_least=at_least)
            times[name].append(seconds / len(batches))
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"| images of a step ({backbone}, {batch_size} of 112 pixels) | ms a step | x ready |")
    print("|---|---:|---:|")
    for name, median in medians.items():
        ratio = median / medians["ready on the device"]
        print(f"| {name} | {1e3 * median:.3g} | {ratio:.3f} |")


def main(
    device: str = "cuda",
    batches: tuple[int, ...] = (1, 8, 32, 128),
    batch_size: int = 64,
    backbone: str = "ir_101",
    clip: str = "ViT-B-32",
    side: int = 256,
    most: int = 512,
    matrix: int = 8192,
    at_least: float = 1.0,
    repeats: int = 3,
) -> None:
    """Print both tables.

    Args:
        device: Where to compute.
        batches: Latents evaluated at a time.
        batch_size: Images of a training step.
        backbone: Name of the network that is trained.
        clip: Architecture of CLIP, with random weights; or a shipped one, avatars_clip.
        side: Of the generator's images; with the next one, to try it all on a CPU.
        most: Channels of any resolution of the generator.
        matrix: Side of the matrices whose product is the ceiling.
        at_least: Seconds for each figure.
        repeats: Timings of steps whose median counts, taken in turns.
    """
    place = torch.device(device)
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else place.type
    print(f"torch {torch.__version__}, {name}")
    with tempfile.TemporaryDirectory() as folder:
        generator = ffhq_sized(Path(folder), side=side, most=most).to(place)
        pretrained = clip if clip in packaged_weights() else None
        guidance = avatar_prompts(model=clip, pretrained=pretrained).to(place)
        compare_evaluations(
            generator, guidance, place, batches=batches, matrix=matrix, at_least=at_least
        )
        compare_steps(
            generator,
            backbone,
            place,
            batch_size=batch_size,
            at_least=at_least,
            repeats=repeats,
        )


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
