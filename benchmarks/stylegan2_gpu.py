"""Time the FFHQ-256 network on a GPU, as a share of what its matrix products could be.

Run by hand, on a machine with a GPU:

    python -m benchmarks.stylegan2_gpu

The ceiling is the rate of one large matrix product of the same type, measured first. Work is
counted by torch's own counter of floating-point operations; a pass forward and backward counts for
twice or three times as much, by what it does.
"""

import itertools
import time
from collections.abc import Callable
from functools import partial

import torch
from benchmarks.stylegan2 import FFHQ, Draw
from jsonargparse import auto_cli
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from qdgs_lightning.generators import StyleGAN2


def seconds_of(job: Callable[[], object], device: torch.device, *, at_least: float) -> float:
    """Return how long a job takes, on average over so many seconds; the first runs do not count."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    for _ in range(3):
        job()
    wait()
    runs, begin = 0, time.perf_counter()
    while runs == 0 or time.perf_counter() - begin < at_least:
        job()
        wait()
        runs += 1
    return (time.perf_counter() - begin) / runs


def flops_of(job: Callable[[], object]) -> int:
    """Return how many floating-point operations a job takes."""
    with FlopCounterMode(display=False) as counter:
        job()
    return int(counter.get_total_flops())


def measure_ceiling(dtype: torch.dtype, device: torch.device, *, size: int) -> float:
    """Return the operations per second of one product of square matrices."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / seconds_of(lambda: a @ b, device, at_least=1.0)


def main(
    device: str = "cuda",
    batches: tuple[int, ...] = (1, 8, 64),
    precisions: tuple[str, ...] = ("bfloat16", "float16"),
    matrix: int = 8192,
    at_least: float = 1.0,
) -> None:
    """Print images per second, and their share of the ceiling, one line for each way.

    Args:
        device: Where to compute.
        batches: Images at a time.
        precisions: Types of the features.
        matrix: Side of the matrices whose product is the ceiling.
        at_least: Seconds for each figure.
    """
    place = torch.device(device)
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else place.type
    print(f"torch {torch.__version__}, {name}")
    for precision in precisions:
        dtype = getattr(torch, precision)
        ceiling = measure_ceiling(dtype, place, size=matrix)
        print(f"{precision}: one matrix product makes {ceiling / 1e12:.3g} Tflop/s")
        for channels_last, compiled in itertools.product((True, False), (False, True)):
            torch.manual_seed(0)
            network = StyleGAN2(**FFHQ).eval().requires_grad_(False)  # type: ignore[arg-type]
            if not channels_last:
                network.to(memory_format=torch.contiguous_format)
            network.to(place)
            plain = passes(network.synthesis, dtype)
            for size in batches:
                timed = plain
                if compiled:
                    # A graph for this network and batch alone: torch gives up after a few of them.
                    torch.compiler.reset()
                    timed = passes(torch.compile(network.synthesis, dynamic=False), dtype)
                ws = torch.randn(size, 14, 512, device=place)
                for kind, job in timed.items():
                    flops = flops_of(partial(plain[kind], ws))
                    seconds = seconds_of(partial(job, ws), place, at_least=at_least)
                    print(
                        f"{precision}, {'channels last' if channels_last else 'channels first'}, "
                        f"{'compiled' if compiled else 'eager'}, batch {size}, {kind}: "
                        f"{size / seconds:.1f} images/s, {flops / seconds / ceiling:.1%} of it",
                        flush=True,
                    )


def passes(synthesis: Callable[..., Tensor], dtype: torch.dtype) -> dict[str, Draw]:
    """Return what is timed: a pass forward, and one forward and back to the styles."""

    def forward(ws: Tensor) -> None:
        with torch.no_grad():
            synthesis(ws, dtype=dtype)

    def backward(ws: Tensor) -> None:
        ws = ws.clone().requires_grad_()
        synthesis(ws, dtype=dtype).sum().backward()  # type: ignore[no-untyped-call]

    return {"forward": forward, "forward + backward": backward}


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
