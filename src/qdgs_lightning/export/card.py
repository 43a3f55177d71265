"""The data card of an exported set: the same facts for programs and for people."""

import hashlib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from qdgs_lightning import __version__
from qdgs_lightning.datasets.resizing import RESIZING
from qdgs_lightning.export.layout import ExportLayout, IdentitySource
from qdgs_lightning.export.workspace import ExportOptions
from qdgs_lightning.reporting.tables import markdown_table
from qdgs_lightning.search import Archive, Coverage
from qdgs_lightning.utils.atomic_files import strict_json

INTENDED_USE = (
    "Training and pretraining of recognition models, and research on how the balance of training "
    "data changes their accuracy and fairness.",
    "Not for identifying people or for judging a person's skin, gender, age or any other "
    "attribute; not as a test set, since accuracy on synthetic images says little about "
    "photographs.",
)
LIMITS = (
    "Labels are a model's guesses: bins are what the guidance measures in an image, not what a "
    "person has said, and it errs more often for some groups than for others.",
    "Identities are synthetic groupings of similar latents: images of one identity may look like "
    "different people, and two identities may look alike.",
    "Bins with equally many images are not equally good ones: where a generator has seen few "
    "examples of a group, it draws that group less well and with less variety.",
    "A generator can repeat images that it was trained on, so that an image may resemble a real "
    "person.",
)
_PACKAGES = ("torch", "torchvision", "numpy", "pillow", "lightning", "open_clip_torch", "ribs")
_WEIGHTS = ("checkpoint", "weights", "pretrained", "path")
# Of datamodules, as far as they have them.
_DRAWING = ("num_identities", "latents_per_identity", "grouping", "align", "edits", "seed")
_SETS = {
    "folder": "a folder for each identity, named by its class index",
    "rec": "train.rec, train.idx and property, as insightface's tools read them",
    "webdataset": "tar files of images (.jpg or .png), class indices (.cls) and facts (.json) for "
    "webdataset, in an order without pattern",
}


def card_facts(
    *,
    name: str,
    options: ExportOptions,
    layout: ExportLayout,
    source: IdentitySource,
    archive: Archive | None,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Gather what there is to say of a set, in JSON types; nothing in it depends on the time.

    Args:
        name: Of the set.
        options: How images are kept.
        layout: Which images it has.
        source: What drew them.
        archive: Where latents come from, if from one.
        settings: All that the set depends on; kept as they are, to tell the same from others.
    """
    identities, counts = layout.counts()
    height, width = settings["image_size"]
    labels: dict[str, Any] = {
        "lowest_class": int(identities[0]),
        "highest_class": int(identities[-1]),
        "gaps": int(identities[-1]) + 1 - len(identities),
    }
    if options.format == "rec":
        labels["numbered"] = "labels count the identities from 0 in ascending order of their class"
        if labels["gaps"]:
            labels["class_of_label"] = identities.tolist()
    return {
        "name": name,
        "format": options.format,
        "images": len(layout),
        "identities": len(identities),
        "images_per_identity": {
            "fewest": int(counts.min()),
            "most": int(counts.max()),
            "mean": round(len(layout) / len(identities), 3),
            "per_latent": layout.edits,
        },
        "image": {
            "height": height,
            "width": width,
            "format": options.image_format,
            "quality": settings["quality"],
            "colours": "RGB",
            "resizing": f"{RESIZING}, where a drawn or aligned image has another size",
        },
        "labels": labels,
        "bins": bin_counts(layout),
        "generator": {
            "fingerprint": settings["generator"],
            "weights": weights_of(source.generator),
        },
        "guidance": strict_json(
            source.guidance.describe() if source.guidance else None, words=True
        ),
        "guidance_weights": weights_of(source.guidance),
        "sampler": strict_json(
            source.sampler.describe_all() if source.sampler else None, words=True
        ),
        "drawing": {"class": type(source).__name__, **_drawing_facts(source)},
        "archive": _archive_facts(archive, settings["archive"], source),
        "versions": _versions(),
        "licence": options.licence,
        "intended_use": list(INTENDED_USE),
        "limits": list(LIMITS),
        "settings": dict(settings),
    }


def bin_counts(layout: ExportLayout) -> list[dict[str, Any]]:
    """Count images and identities of every bin, empty ones included."""
    found = []
    for index, name in enumerate(layout.bin_names):
        inside = layout.bins == index
        found.append(
            {
                "name": name,
                "identities": len(set(layout.classes[inside].tolist())),
                "images": int(inside.sum()),
            }
        )
    return found


def weights_of(model: object) -> list[dict[str, str]]:
    """Name the weights that a model was told to load; files are named without their folders.

    Args:
        model: A generator or guidance; of guidance that wraps another, both are looked at.
    """
    found = []
    while model is not None:
        for attribute in _WEIGHTS:
            value = getattr(model, attribute, None)
            if isinstance(value, str | Path) and str(value):
                facts = {"name": Path(value).name}
                if Path(value).is_file():
                    facts["sha256"] = file_hash(Path(value))
                found.append(facts)
        model = getattr(model, "guidance", None)
    return found


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, as sha256sum prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def card_page(facts: Mapping[str, Any]) -> str:
    """Write the facts of a set for people, in Markdown."""
    image, each, archive = facts["image"], facts["images_per_identity"], facts["archive"]
    generator = facts["generator"]
    quality = f" of quality {image['quality']}" if image["quality"] else ""
    bins = [[str(cell) for cell in row.values()] for row in facts["bins"]]
    fewest, most = each["fewest"], each["most"]
    number = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    lines = [
        f"# {facts['name']}",
        "",
        f"{facts['images']:,} synthetic images of {facts['identities']:,} identities, {number} "
        f"each, {image['width']} x {image['height']} pixels, RGB, {image['format'].upper()}"
        f"{quality}. Written by qdgs-lightning as {_SETS[facts['format']]}. `identities.csv` has "
        "the bin of every identity, and `card.json` all that stands here.",
        "",
        _labels(facts),
        "",
        f"Licence: {facts['licence']}",
        "",
        "## Images of each bin",
        "",
        markdown_table([("bin", "identities", "images"), *bins]),
        "",
        "## Where they come from",
        "",
        f"- Generator: `{generator['fingerprint']}`{_named(generator['weights'])}",
        f"- Guidance{_named(facts['guidance_weights'])}:",
        *_nested(facts["guidance"], depth=1),
        f"- Datamodule, with {each['per_latent']} images of each latent:",
        *_nested(facts["drawing"], depth=1),
    ]
    if archive is None:
        lines.append("- Archive: none; latents were drawn from the generator's prior.")
    else:
        lines += [
            "- Archive, the result of a quality-diversity search:",
            *_nested(archive, depth=1),
        ]
    lines += ["- Sampler:", *_nested(facts["sampler"], depth=1)]
    lines += ["- Versions:", *_nested(facts["versions"], depth=1)]
    lines += ["", "## Intended use", "", *(f"- {line}" for line in facts["intended_use"])]
    lines += ["", "## Known limits", "", *(f"- {line}" for line in facts["limits"])]
    return "\n".join(lines) + "\n"


def _labels(facts: Mapping[str, Any]) -> str:
    """Say what the labels are."""
    labels = facts["labels"]
    lowest, highest, gaps = (labels[name] for name in ("lowest_class", "highest_class", "gaps"))
    text = f"Class indices go from {lowest} to {highest}"
    text += f", with {gaps} that no image has." if gaps else ", without a gap."
    if "numbered" in labels:
        text += f" In train.rec {labels['numbered']}."
    return text


def _archive_facts(
    archive: Archive | None, digest: str | None, source: IdentitySource
) -> dict[str, Any] | None:
    """Say where the latents come from."""
    if archive is None:
        return None
    stats, metadata = archive.stats, archive.metadata
    intervals = source.sampler.joint.intervals if source.sampler else None
    coverage = Coverage.of(archive, intervals=intervals)
    facts: dict[str, Any] = {
        "sha256": digest,
        "elites": stats.num_elites,
        **{name: round(share, 6) for name, share in coverage.shares().items()},
        "qd_score": round(stats.qd_score, 3),
        "objective_mean": round(stats.obj_mean, 4),
        "objective_best": round(stats.obj_max, 4),
        "measures": list(metadata.measure_names),
        "grid": list(metadata.grid),
        "ranges": metadata.ranges,
        "algorithm": metadata.algorithm,
        "evaluations": metadata.evaluations,
        "seed": metadata.seed,
        "guidance": metadata.guidance,
        "versions": metadata.versions,
    }
    return {name: strict_json(value, words=True) for name, value in facts.items()}


def _drawing_facts(source: IdentitySource) -> dict[str, Any]:
    """Say how a datamodule makes identities of latents and images of them."""
    facts = {name: getattr(source, name, None) for name in _DRAWING}
    if facts["edits"] is not None and not isinstance(facts["edits"], int):
        edits = facts["edits"]
        facts["edits"] = {
            "class": type(edits).__name__,
            **{
                name: value.name if isinstance(value, Path) else strict_json(value, words=True)
                for name, value in vars(edits).items()
                if not name.startswith("_")
            },
        }
    return {name: value for name, value in facts.items() if value is not None}


def _versions() -> dict[str, str]:
    """Name the versions of what decides the images."""
    found = {"qdgs-lightning": __version__}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _named(weights: list[dict[str, str]]) -> str:
    """Name files of weights within a sentence."""
    return f" (weights: {', '.join(item['name'] for item in weights)})" if weights else ""


def _nested(value: Any, *, depth: int) -> list[str]:  # noqa: ANN401 (JSON types)
    """Write a dictionary as a list, what lies in it inline."""
    indent = "  " * depth
    if not isinstance(value, dict):
        return [f"{indent}- none" if value is None else f"{indent}- {value}"]
    return [f"{indent}- {name.replace('_', ' ')}: {_inline(item)}" for name, item in value.items()]


def _inline(value: Any) -> str:  # noqa: ANN401 (JSON types)
    """Write a value within a line."""
    match value:
        case None | [] | "":
            return "none"
        case dict():
            return "; ".join(f"{name.replace('_', ' ')} {_inline(v)}" for name, v in value.items())
        case [*items] if any(isinstance(item, list | dict) for item in items):
            return "; ".join(f"({_inline(item)})" for item in items)
        case [*items]:
            return " / ".join(str(item) for item in items)
        case str() if " " in value:
            return f'"{value}"'
    return str(value)
