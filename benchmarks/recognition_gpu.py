"""Time training steps of a recogniser on a GPU, as a share of what matrix products could be.

Run by hand, on a machine with a GPU:

    python -m benchmarks.recognition_gpu

A step is IR-101 under AdaFace with the 10,572 identities of CASIA-WebFace: forward and backward in
bfloat16, and SGD. Beside it stands what one process can decode, the loader's ceiling.
"""

import itertools
from functools import partial
from typing import cast

import torch
from benchmarks.recognition import faces, sgd
from benchmarks.stylegan2_gpu import flops_of, measure_ceiling, seconds_of
from jsonargparse import auto_cli
from torch import Tensor, nn

from qdgs_lightning.datasets.image_decoding import decode_rgb
from qdgs_lightning.models import AdaFace, create_backbone


def step(
    backbone: nn.Module,
    head: AdaFace,
    optimizer: torch.optim.Optimizer,
    batch: tuple[Tensor, Tensor],
) -> None:
    """Train on one batch of images and identities."""
    images, identities = batch
    optimizer.zero_grad()
    with torch.autocast(images.device.type, dtype=torch.bfloat16):
        loss = head.loss(backbone(images), identities)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def main(
    device: str = "cuda",
    backbone: str = "ir_101",
    batches: tuple[int, ...] = (64, 128, 512),
    identities: int = 10_572,
    matrix: int = 8192,
    at_least: float = 2.0,
) -> None:
    """Print images per second, and their share of the ceiling, one line for each way.

    Args:
        device: Where to compute.
        backbone: Name of the network.
        batches: Images at a time.
        identities: Rows of the head.
        matrix: Side of the matrices whose product is the ceiling.
        at_least: Seconds for each figure.
    """
    place = torch.device(device)
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else place.type
    ceiling = measure_ceiling(torch.bfloat16, place, size=matrix)
    print(f"torch {torch.__version__}, {name}: one product makes {ceiling / 1e12:.3g} Tflop/s")
    files = faces(200)
    decoding = seconds_of(
        lambda: [decode_rgb(data) for data in files], torch.device("cpu"), at_least=at_least
    )
    print(f"one process decodes {len(files) / decoding:,.0f} images/s")
    for channels_last, compiled in itertools.product((True, False), (False, True)):
        layout = torch.channels_last if channels_last else torch.contiguous_format
        network = create_backbone(backbone).train()
        network.to(place).to(memory_format=layout)
        head = AdaFace(network.embedding_dim, identities).to(place)
        optimizer = sgd([*network.parameters(), *head.parameters()])
        for size in batches:
            timed: nn.Module = network
            if compiled:
                torch.compiler.reset()  # a graph for this batch alone, as in a training
                timed = cast(nn.Module, torch.compile(network, dynamic=False))
            images = torch.rand(size, 3, 112, 112, device=place).to(memory_format=layout)
            batch = images, torch.randint(identities, (size,), device=place)
            flops = flops_of(partial(step, network, head, optimizer, batch))
            job = partial(step, timed, head, optimizer, batch)
            seconds = seconds_of(job, place, at_least=at_least)
            print(
                f"{'channels last' if channels_last else 'channels first'}, "
                f"{'compiled' if compiled else 'eager'}, batch {size}: {size / seconds:,.0f} "
                f"images/s, {flops / seconds / ceiling:.1%} of it",
                flush=True,
            )


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
