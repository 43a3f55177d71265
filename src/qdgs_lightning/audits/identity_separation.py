"""``qdgs data identities``: say how well a recogniser tells the identities of a set apart."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from qdgs_lightning.datasets import open_face_dataset
from qdgs_lightning.datasets.image_folder import FaceFolderDataset
from qdgs_lightning.datasets.sample import sample_pairs
from qdgs_lightning.metrics import Estimate, IdentitySeparation, identity_separation
from qdgs_lightning.models import ColorChoice
from qdgs_lightning.reporting.figures import roc_figure
from qdgs_lightning.tasks.stored_recogniser import embed_rows, open_recogniser
from qdgs_lightning.utils.atomic_files import replacing, write_json
from qdgs_lightning.utils.console import DataError, say


def data_identities(
    *,
    path: Path,
    run: Path | None = None,
    checkpoint: Path | None = None,
    backbone: str | None = None,
    image_size: int = 112,
    color_order: ColorChoice = "auto",
    entry: str | None = None,
    pairs: int = 20_000,
    seed: int = 0,
    num_bootstrap: int = 1000,
    batch_size: int = 256,
    num_workers: int = 0,
    accelerator: str = "auto",
    output: Path = Path("runs/identities"),
) -> None:
    """Say how well a recogniser tells the identities of a set apart: AUC, EER, within and between.

    For identities that were made, as `qdgs export` writes them: images of one are to be close
    together and images of two apart, for a recogniser that was trained on something else. Where
    they are not, labels teach a new recogniser wrong. Real identities of the same size give the
    number to compare with.

    A table is printed and kept as identities.json; identities.csv there has the mean cosines of
    each identity, and roc.png the ROC curve. Intervals are of other identities of the same kind.

    Args:
        path: A folder with one folder for each identity, a .rec file or the folder of one, such as
            an export. Images are resized to what the backbone takes.
        run: A run folder of `qdgs fit`: the recogniser.
        checkpoint: Its weights; checkpoints/last.ckpt of the run where left out.
        backbone: In place of a run the name of a network, such as ir_50, whose weights are in
            checkpoint: a file of insightface, AdaFace or CVLface.
        image_size: Side of the images that a named backbone takes.
        color_order: What the network in the file of weights takes, rgb or bgr, where the file does
            not tell.
        entry: Which entry of that file to take, such as ema, where several hold weights.
        pairs: How many pairs of one identity, and of two, are drawn at most.
        seed: Of the pairs and of the replicates.
        num_bootstrap: How many replicates the intervals are of; 0 for none.
        batch_size: Images at once.
        num_workers: Processes that decode images.
        accelerator: Where to compute: cpu, cuda, mps, or auto.
        output: The folder of the results.

    Raises:
        DataError: An option is out of its range, or the set makes no pairs.
        QDGSError: The set or the weights cannot be read.
    """
    for name, value in (("pairs", pairs), ("batch_size", batch_size)):
        if value < 1:
            raise DataError(f"{name} is {value}; give a positive whole number.")
    if num_workers < 0 or num_bootstrap < 0:
        raise DataError("num_workers and num_bootstrap are 0 or more.")
    images = open_face_dataset(path)
    generator = torch.Generator().manual_seed(seed)
    within, between = sample_pairs(images.labels, pairs, generator)
    if run is not None and checkpoint is None:
        checkpoint = run / "checkpoints" / "last.ckpt"
    recogniser, size = open_recogniser(
        run=run,
        checkpoint=checkpoint,
        backbone=backbone,
        image_size=image_size,
        color_order=color_order,
        entry=entry,
    )
    used, places = torch.unique(torch.cat([within, between]), return_inverse=True)
    embeddings = embed_rows(
        recogniser,
        images,
        used.tolist(),
        size=size,
        batch_size=batch_size,
        num_workers=num_workers,
        accelerator=accelerator,
    )
    cosines = (embeddings[places[:, 0]] * embeddings[places[:, 1]]).sum(dim=1)
    people = images.labels[torch.cat([within, between])]
    found = identity_separation(2 - 2 * cosines, people, num_bootstrap=num_bootstrap, seed=seed)
    same = people[:, 0] == people[:, 1]
    facts = {
        "path": str(path),
        "recogniser": {
            "run": None if run is None else str(run),
            "checkpoint": str(checkpoint),
            "backbone": backbone or type(recogniser.backbone).__name__,
        },
        "images": len(images),
        "images_embedded": len(used),
        "identities": images.num_classes,
        "seed": seed,
        "num_bootstrap": num_bootstrap,
        **_facts(found),
        "cosine_within": _spread(cosines[same]),
        "cosine_between": _spread(cosines[~same]),
    }
    write_json(output / "identities.json", facts)
    _write_csv(output / "identities.csv", _names(images), cosines, people)
    figure = roc_figure({path.name: (2 - 2 * cosines, same)})
    with replacing(output / "roc.png") as unfinished:
        figure.savefig(unfinished, format="png")
    Console(highlight=False).print(_table(path, found, cosines[same], cosines[~same]))
    say(f"Written: {output}, identities.json, identities.csv and roc.png.")


def _facts(found: IdentitySeparation) -> dict[str, object]:
    """Return a result in JSON types; interval ends that there are not are null."""
    return {
        "pairs_within": found.num_same,
        "pairs_between": found.num_different,
        "identities_in_pairs": found.num_people,
        "auc": _estimate(found.auc),
        "eer": _estimate(found.eer),
        "tar": {f"{rate:g}": _estimate(share) for rate, share in found.tar.items()},
    }


def _estimate(estimate: Estimate) -> dict[str, float | None]:
    """Return a number and its interval in JSON types."""
    pairs = zip(("value", "low", "high"), estimate, strict=True)
    return {name: None if math.isnan(value) else value for name, value in pairs}


def _spread(cosines: Tensor) -> dict[str, float]:
    """Return mean and standard deviation."""
    return {"mean": float(cosines.mean()), "std": float(cosines.std(correction=0))}


def _names(images: object) -> Sequence[str] | None:
    """Return what identities are called, if the set says so."""
    return images.identities if isinstance(images, FaceFolderDataset) else None


def _write_csv(path: Path, names: Sequence[str] | None, cosines: Tensor, people: Tensor) -> None:
    """Write the mean cosines of each identity, those least alike within first."""
    same = people[:, 0] == people[:, 1]
    size = int(people.max()) + 1
    sums, counts = torch.zeros(2, size, dtype=torch.float64), torch.zeros(2, size).long()
    for kind, sides in ((0, people[same][:, :1]), (1, people[~same])):
        for side in sides.T:
            values = cosines[same if kind == 0 else ~same].double()
            sums[kind].index_add_(0, side, values)
            counts[kind].index_add_(0, side, torch.ones_like(side))
    means = sums / counts
    rows = [int(row) for row in counts.sum(0).nonzero().flatten()]
    rows.sort(key=lambda row: (means[0, row].isnan().item(), float(means[0, row])))
    with replacing(path) as unfinished, unfinished.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ("identity", "pairs_within", "cosine_within", "pairs_between", "cosine_between")
        )
        for row in rows:
            cells = [
                cell
                for kind in (0, 1)
                for cell in (
                    int(counts[kind, row]),
                    f"{float(means[kind, row]):.4f}" if counts[kind, row] else "",
                )
            ]
            writer.writerow((names[row] if names else row, *cells))


def _table(path: Path, found: IdentitySeparation, within: Tensor, between: Tensor) -> Table:
    """Return the table for the screen."""
    table = Table("", "value", "95 % interval", title=f"Identities of {path}")
    rows = [("AUC", found.auc, 1.0), ("EER, %", found.eer, 100.0)]
    rows += [(f"TAR at FMR {rate:.2%}, %", share, 100.0) for rate, share in found.tar.items()]
    for name, estimate, factor in rows:
        digits = 4 if factor == 1 else 2
        interval = (
            "-"
            if math.isnan(estimate.low)
            else f"[{factor * estimate.low:.{digits}f}, {factor * estimate.high:.{digits}f}]"
        )
        table.add_row(name, f"{factor * estimate.value:.{digits}f}", interval)
    for name, cosines in (("within", within), ("between", between)):
        spread = _spread(cosines)
        table.add_row(f"cosine {name}", f"{spread['mean']:.3f}", f"std {spread['std']:.3f}")
    table.caption = (
        f"{found.num_same:,} pairs of one identity and {found.num_different:,} of two, of "
        f"{found.num_people:,} identities; intervals over identities"
    )
    return table
