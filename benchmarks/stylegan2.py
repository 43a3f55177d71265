"""Time the FFHQ-256 network against NVIDIA's own code, and against its convolutions alone.

NVIDIA's code is not part of this package; whoever measures brings a checkout of
stylegan2-ada-pytorch:

    git clone https://github.com/NVlabs/stylegan2-ada-pytorch /tmp/stylegan2-ada-pytorch
    python -m benchmarks.stylegan2 --reference_path /tmp/stylegan2-ada-pytorch

Both sides run in turns, in float32 with the same random weights, noise as stored and no gradients
for weights; theirs in its default, fused form. Figures are the least CPU-seconds of all repeats.
"""

import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from jsonargparse import auto_cli
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from qdgs_lightning.generators import StyleGAN2
from qdgs_lightning.generators.stylegan2.layers import ModulatedConv
from qdgs_lightning.utils.memory import keep_freed_memory

Draw = Callable[[Tensor], object]
FFHQ = {
    "z_dim": 512,
    "c_dim": 0,
    "w_dim": 512,
    "img_resolution": 256,
    "img_channels": 3,
    "mapping_kwargs": {"num_layers": 8},
    "synthesis_kwargs": {"channel_base": 16384, "channel_max": 512, "conv_clamp": 256},
}


def reference(checkout: Path, weights: dict[str, Tensor]) -> Draw:
    """Build NVIDIA's network from a checkout of theirs, and return its synthesis."""
    sys.path.insert(0, str(checkout))
    network = importlib.import_module("training.networks").Generator(**FFHQ)
    network.load_state_dict(weights)
    network.eval().requires_grad_(False)

    def draw(ws: Tensor) -> Tensor:
        images: Tensor = network.synthesis(ws, noise_mode="const", force_fp32=True)
        return images

    return draw


def convolutions(network: StyleGAN2) -> Draw:
    """Return a function that does the 3x3 convolutions and nothing else, on ready inputs."""
    layers = [layer for layer in network.modules() if isinstance(layer, ModulatedConv)]
    inputs: dict[tuple[int, ...], Tensor] = {}

    def draw(ws: Tensor) -> None:
        for layer in layers:
            side = len(layer.noise_const) // (2 if layer.up else 1)
            shape = (len(ws), layer.weight.shape[1], side, side)
            if shape not in inputs:
                ready = torch.randn(shape).contiguous(memory_format=torch.channels_last)
                inputs[shape] = ready
            if layer.up:
                F.conv_transpose2d(inputs[shape], layer.weight.transpose(0, 1), stride=2)
            else:
                F.conv2d(inputs[shape], layer.weight, padding=1)

    return draw


def forward(draw: Draw, ws: Tensor) -> None:
    """Draw without gradients."""
    with torch.no_grad():
        draw(ws)


def backward(draw: Draw, ws: Tensor) -> None:
    """Draw, and differentiate by the styles."""
    ws = ws.clone().requires_grad_()
    images = draw(ws)
    assert isinstance(images, Tensor)
    images.sum().backward()  # type: ignore[no-untyped-call]


def least_seconds(
    sides: dict[str, Draw], job: Callable[[Draw, Tensor], None], ws: Tensor, repeats: int
) -> dict[str, float]:
    """Return the least CPU-seconds per image of each side; they take turns."""
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(repeats + 1):
        for name, draw in sides.items():
            begin = time.process_time()
            job(draw, ws)
            best[name] = min(best[name], (time.process_time() - begin) / len(ws))
    return best


def print_parts(draw: Draw, ws: Tensor) -> None:
    """Print what share of a forward pass each kind of operation takes."""
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        forward(draw, ws)
    shares: dict[str, float] = {}
    for event in profiler.key_averages(group_by_input_shape=True):
        name = event.key.removeprefix("aten::")
        if "convolution" in name:
            filters = any(list(shape[-2:]) == [4, 4] for shape in event.input_shapes[1:2])
            name = "filters (4x4)" if filters else "convolutions"
        shares[name] = shares.get(name, 0.0) + event.self_cpu_time_total
    total = sum(shares.values())
    largest = sorted(shares.items(), key=lambda item: -item[1])[:8]
    print("parts of a forward pass: " + ", ".join(f"{k} {v / total:.0%}" for k, v in largest))


def main(
    reference_path: Path | None = None,
    batches: tuple[int, ...] = (1, 4),
    threads: int = 2,
    repeats: int = 5,
) -> None:
    """Print CPU-seconds per image and their ratios.

    Args:
        reference_path: A checkout of NVIDIA's stylegan2-ada-pytorch; without it, only our side.
        batches: Images at a time.
        threads: Threads of torch.
        repeats: How often each side runs; the first run of each is one more.
    """
    keep_freed_memory()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    ours = StyleGAN2(**FFHQ).eval().requires_grad_(False)  # type: ignore[arg-type]
    sides: dict[str, Draw] = {"ours": ours.synthesis}
    if reference_path is not None:
        theirs = sides["theirs"] = reference(reference_path, ours.state_dict())
        ws = torch.randn(1, 14, 512)
        difference = torch.as_tensor(theirs(ws)) - ours.synthesis(ws)
        print(f"largest difference of an image: {difference.abs().max():.1e}")
    alone = convolutions(ours)
    for size in batches:
        ws = torch.randn(size, 14, 512)
        for job in (forward, backward):
            rivals = {**sides, "convolutions alone": alone} if job is forward else sides
            seconds = least_seconds(rivals, job, ws, repeats)
            told = ", ".join(
                f"{name} {value:.3f} ({1 / value:.2f} images/s)" for name, value in seconds.items()
            )
            ratios = ", ".join(
                f"ours / {name} {seconds['ours'] / value:.2f}"
                for name, value in seconds.items()
                if name != "ours"
            )
            print(
                f"batch {size}, {job.__name__}: CPU-seconds per image {told}; {ratios}", flush=True
            )
        print_parts(ours.synthesis, ws)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
