"""Compute margin heads with the original code of others, for tests/models/heads/test_originals.py.

None of the repositories is part of this one; whoever runs this brings checkouts of them:

    git clone https://github.com/deepinsight/insightface
    git clone https://github.com/mk-minchul/AdaFace
    git clone https://github.com/HuangYG123/CurricularFace
    python -m tests.peers.make_head_numbers insightface AdaFace CurricularFace

Kept are the inputs, and for each head logits, losses and gradients of three batches, and what heads
with a memory keep after each. Weights stay the same. Partial FC runs in one process and in two.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn
from torch.nn.functional import cross_entropy, normalize

TARGET = Path(__file__).parents[1] / "data" / "heads" / "by_originals.npz"
STEPS, BATCH, DIM, CLASSES = 3, 8, 6, 11


def inputs() -> dict[str, Tensor]:
    """Draw rows, labels, and embeddings at all angles to the row of their label."""
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(CLASSES, DIM, generator=draw) * 0.3
    labels = torch.randint(CLASSES, (STEPS, BATCH), generator=draw)
    towards = normalize(weight)[labels]
    aside = torch.randn(STEPS, BATCH, DIM, generator=draw)
    aside = normalize(aside - (aside * towards).sum(-1, keepdim=True) * towards, dim=-1)
    # Up to 3.0: with a margin of 0.5 beyond pi, and for some cosines below -0.92 as well.
    angles = torch.linspace(0.15, 3.0, BATCH) + torch.tensor([0.0, 0.05, -0.1])[:, None]
    lengths = 8 + 30 * torch.rand(STEPS, BATCH, 1, generator=draw)
    embeddings = lengths * (angles.cos()[..., None] * towards + angles.sin()[..., None] * aside)
    return {"weight": weight, "labels": labels, "embeddings": embeddings}


def insightface(checkout: Path) -> dict[str, Any]:
    """Load margins and Partial FC, without the GPU that the latter takes for granted."""
    names: dict[str, Any] = {}
    folder = checkout / "recognition/arcface_torch"
    for file in ("losses.py", "partial_fc_v2.py"):
        exec((folder / file).read_text().replace(".cuda()", ""), names)
    return names


def heads_on(checkout: Path, file: str) -> dict[str, Any]:
    """Load a file of heads."""
    names: dict[str, Any] = {}
    exec((checkout / file).read_text(), names)
    return names


def of_insightface(margin: Any, given: dict[str, Tensor]) -> dict[str, list[Tensor]]:  # noqa: ANN401
    """Compute as their Partial FC does before its softmax."""
    found: dict[str, list[Tensor]] = {}
    for x, y in zip(given["embeddings"], given["labels"], strict=True):
        embeddings, weight = x.clone().requires_grad_(), given["weight"].clone().requires_grad_()
        cosines = (normalize(embeddings) @ normalize(weight).T).clamp(-1, 1)
        logits = margin(cosines, y.clone()[:, None])
        note(found, logits, y, embeddings, weight)
    return found


def of_module(head: Any, given: dict[str, Tensor], *, name: str) -> dict[str, list[Tensor]]:  # noqa: ANN401
    """Compute with a head that has its own kernel, ``[d, C]``."""
    head.kernel.data = given["weight"].T.clone()
    found: dict[str, list[Tensor]] = {}
    for x, y in zip(given["embeddings"], given["labels"], strict=True):
        embeddings = x.clone().requires_grad_()
        head.kernel.grad = None
        if name == "CurricularFace":
            logits = head(embeddings, y)[0]
        else:
            norms = embeddings.norm(dim=1, keepdim=True)
            logits = head(embeddings / norms, norms, y)
        note(found, logits, y, embeddings, head.kernel)
        for buffer in ("batch_mean", "batch_std", "t"):
            if hasattr(head, buffer):
                found.setdefault(buffer, []).append(getattr(head, buffer).clone())
    return found


def note(
    found: dict[str, list[Tensor]], logits: Tensor, labels: Tensor, embeddings: Tensor, rows: Tensor
) -> None:
    """Add one batch to what was found."""
    loss = cross_entropy(logits, labels)
    loss.backward()  # type: ignore[no-untyped-call]
    assert embeddings.grad is not None
    assert rows.grad is not None
    weight_grad = rows.grad if rows.shape == (CLASSES, DIM) else rows.grad.T
    for name, value in (
        ("logits", logits.detach()),
        ("loss", loss.detach()),
        ("embeddings_grad", embeddings.grad),
        ("weight_grad", weight_grad),
    ):
        found.setdefault(name, []).append(value.clone())


def partial_fc(rank: int, world_size: int, folder: str, checkout: str) -> None:
    """Run Partial FC with all rows on the first batch, in one of several processes."""
    store = f"file://{folder}/store{world_size}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world_size)
    theirs, given = insightface(Path(checkout)), inputs()
    found = {}
    # A small scale: what exceeds -log(1e-30), their loss leaves out.
    margins = {"arcface": theirs["ArcFace"](16.0, 0.5), "cosface": theirs["CosFace"](16.0, 0.4)}
    for name, margin in margins.items():
        head = theirs["PartialFC_V2"](margin, DIM, CLASSES)
        place = slice(head.class_start, head.class_start + head.num_local)
        head.weight.data = given["weight"][place].clone()
        embeddings = given["embeddings"][0].chunk(world_size)[rank].clone().requires_grad_()
        loss = head(embeddings, given["labels"][0].chunk(world_size)[rank].clone())
        loss.backward()
        found[name] = (loss.detach(), embeddings.grad, head.weight.grad)
    torch.save(found, f"{folder}/{world_size}_{rank}.pt")
    dist.destroy_process_group()


def main() -> None:
    """Write inputs and what all say."""
    ours = [Path(argument) for argument in sys.argv[1:4]]
    given = inputs()
    theirs = insightface(ours[0])
    found = {
        "arcface_torch.ArcFace": of_insightface(theirs["ArcFace"](64.0, 0.5), given),
        "arcface_torch.CosFace": of_insightface(theirs["CosFace"](64.0, 0.4), given),
        "arcface_torch.CombinedMarginLoss": of_insightface(
            theirs["CombinedMarginLoss"](64.0, 1.0, 0.3, 0.0), given
        ),
    }
    module = heads_on(ours[1], "head.py")
    for name, options in (
        ("AdaFace", {"m": 0.4, "h": 0.333, "s": 64.0, "t_alpha": 0.01}),
        ("ArcFace", {"m": 0.5, "s": 64.0}),
        ("CosFace", {"m": 0.4, "s": 64.0}),
    ):
        head = module[name](embedding_size=DIM, classnum=CLASSES, **options)
        found[f"AdaFace.{name}"] = of_module(head, given, name=name)
    # A memory that moves fast, from statistics that lengths are spread around.
    head = module["AdaFace"](embedding_size=DIM, classnum=CLASSES, m=0.4, h=0.5, t_alpha=0.6)
    found["AdaFace.AdaFace_fast"] = of_module(head, given, name="AdaFace")
    module = heads_on(ours[2], "head/metrics.py")
    for name in ("ArcFace", "CurricularFace"):
        head = module[name](DIM, CLASSES, m=0.5, s=64.0)
        found[f"CurricularFace.{name}"] = of_module(head, given, name="CurricularFace")
    arrays = {name: value.numpy() for name, value in given.items()}
    for name, values in found.items():
        arrays |= {f"{name}/{key}": torch.stack(list(v)).numpy() for key, v in values.items()}
    for world_size in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            args = (world_size, folder, str(ours[0]))
            spawn(partial_fc, args=args, nprocs=world_size)  # type: ignore[no-untyped-call]
            parts = [torch.load(f"{folder}/{world_size}_{r}.pt") for r in range(world_size)]
        for name in ("arcface", "cosface"):
            key = f"partial_fc.{name}.{world_size}"
            arrays[f"{key}/loss"] = parts[0][name][0].numpy()
            arrays[f"{key}/embeddings_grad"] = torch.cat([part[name][1] for part in parts]).numpy()
            arrays[f"{key}/weight_grad"] = torch.cat([part[name][2] for part in parts]).numpy()
    TARGET.parent.mkdir(exist_ok=True)
    np.savez_compressed(TARGET, **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
