"""What a run reads: weights, training sets, benchmarks, archives, checkpoints."""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule

from qdgs_lightning.datamodules import FaceDataModule, SyntheticFaceDataModule
from qdgs_lightning.datasets import RecordIOError, load_benchmarks
from qdgs_lightning.datasets.image_folder import find_records
from qdgs_lightning.datasets.records.file import RecordFile
from qdgs_lightning.datasets.records.index import read_index, read_property
from qdgs_lightning.datasets.verification.folds import (
    NUM_FOLDS,
    unmixed_folds,
    why_no_accuracy,
)
from qdgs_lightning.doctor.context import Plan
from qdgs_lightning.doctor.findings import Finding, failure, missing, ok, warning, wrong
from qdgs_lightning.errors import QDGSError
from qdgs_lightning.generators import StyleGAN2Generator
from qdgs_lightning.identities import PrincipalEdits
from qdgs_lightning.reporting.loggers import folder_of
from qdgs_lightning.search import QDSearch
from qdgs_lightning.search.persistence.resume import evaluations_to_reach
from qdgs_lightning.search.persistence.tree_file import read_tree
from qdgs_lightning.tasks import FaceRecognizer, ImplicitTraining
from qdgs_lightning.utils.checkpoint_io import check_resumable, mismatch, read_checkpoint
from qdgs_lightning.utils.units import size

_LOADABLE = 2 * 10**9  # bytes of an archive file that is loaded to see if its search can go on


def check_generator(plan: Plan) -> Iterator[Finding]:
    """Load the generator, and say what it draws."""
    generator = plan.generator
    if generator is None:
        return
    of_file = ""
    if isinstance(generator, StyleGAN2Generator):
        path = generator.checkpoint
        if not path.is_file():
            yield missing(
                "generator",
                f"there is no checkpoint {path.absolute()}",
                "bring it, or correct `checkpoint` of the generator",
            )
            return
        of_file = f" of {path}, {_kind(path)}, {size(path.stat().st_size)}"
    try:
        generator.prepare()
    except Exception as error:  # a user's own generator may raise anything
        yield failure("generator", error)
        return
    plan.can_draw = True
    side, shape = generator.image_size, " x ".join(map(str, generator.latent_shape))
    yield ok(
        "generator",
        f"{type(generator).__name__}{of_file} draws {side} x {side} pixels from latents of {shape}",
        image_size=side,
        latent_size=generator.latent_size,
    )


def check_guidance(plan: Plan) -> Iterator[Finding]:
    """Load what judges images; nothing is downloaded."""
    if plan.guidance is None:
        return
    try:
        plan.guidance.prepare()
    except Exception as error:  # a user's own guidance may raise anything
        yield failure("guidance", error)
        return
    plan.can_judge = True
    judge = plan.prompts
    model = "" if judge is None else f" by {judge.model} ({judge.pretrained or 'random weights'})"
    names = ", ".join(plan.guidance.measure_names)
    yield ok("guidance", f"{type(plan.guidance).__name__}{model} measures {names}")


def check_training_set(plan: Plan) -> Iterator[Finding]:
    """Open the training set of files and count; an index that is missing is not made."""
    data = plan.data
    if plan.command == "test" or not isinstance(data, FaceDataModule) or data.train_path is None:
        return
    path, subject = data.train_path, "training set"
    if not path.exists():
        yield missing(
            subject, f"there is no {path.absolute()}", "bring it, or set `data.init_args.train`"
        )
        return
    records = path if path.is_file() else find_records(path)
    if records is not None and (trouble := _index_trouble(records)):
        said = read_property(records.with_name("property"))
        plan.num_classes = said[0] if said else None
        classes = f", of {said[0]:,} identities by `property`" if said else ""
        yield warning(
            subject,
            f"{records} ({size(records.stat().st_size)}{classes}) has {trouble}, and every fit "
            "will go through the whole file first",
            "bring the .idx file, or let `qdgs data verify` look at the set",
        )
        return
    images = data.open_images()  # raises what the fit would
    plan.images = images
    plan.num_classes = images.num_classes
    found = f"{path}: {len(images):,} images of {images.num_classes:,} identities"
    if images.num_classes < 2:
        yield wrong(subject, found, "two identities are needed at least")
    elif len(images) < (least := data.batch_size * plan.processes):
        yield wrong(
            subject,
            f"{found}, too few for a batch of {data.batch_size} on {plan.processes} process(es)",
            f"lower `data.init_args.batch_size`, whose batches are {least} images over all",
        )
    else:
        yield ok(subject, found, images=len(images), classes=images.num_classes)


def check_benchmarks(plan: Plan) -> Iterator[Finding]:
    """Load each verification set that is validated or tested on; those absent are left out."""
    data = plan.faces
    if data is None:
        return
    names = data.test_on if plan.command == "test" else data.validate_on
    if not names:
        return
    subject, root = "benchmarks", data.benchmark_root
    if root is None:
        yield wrong(
            subject,
            f"nothing says where {', '.join(names)} are",
            "set `data.init_args.benchmarks` to the folder that holds them",
        )
        return
    present, absent = [], []
    for name in names:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what is absent
                found = load_benchmarks(root, [name], image_size=data.image_size)
        except QDGSError as error:
            yield failure(f"benchmark {name}", error)
            continue
        for part, pairs in found.items():
            if reason := why_no_accuracy(pairs.is_same):
                yield wrong(
                    f"benchmark {part}",
                    f"it has no accuracy: {reason}",
                    "take it out of `data.init_args.validate_on`, or bring more pairs",
                )
                continue
            present.append(f"{part} ({len(pairs.is_same):,} pairs)")
            if unmixed := unmixed_folds(pairs.is_same):
                yield warning(
                    f"benchmark {part}",
                    f"{unmixed} of {NUM_FOLDS} folds hold pairs of one kind only, so that accuracy "
                    "means little",
                    "mix pairs of one person and of two",
                )
        absent += [] if found else [name]
    told = f"in {root} there is {', '.join(present) or 'none'}"
    if plan.command == "test" and not present:
        yield missing(subject, f"{told}, and a test needs one", f"bring {', '.join(absent)}")
    elif absent:
        yield warning(
            subject,
            f"{told}; absent: {', '.join(absent)}",
            f"bring them; a {plan.command} goes on without them",
        )
    elif present:
        yield ok(subject, told)


def check_edits(plan: Plan) -> Iterator[Finding]:
    """Read the changes that make several images of one face."""
    data, generator, subject = plan.data, plan.generator, "identity edits"
    if not isinstance(data, SyntheticFaceDataModule) or data.edits is None:
        return
    if isinstance(data.edits, PrincipalEdits):
        plan.num_edits = data.edits.number
    if not plan.can_draw:
        return
    if not isinstance(generator, StyleGAN2Generator):
        yield wrong(
            subject,
            f"they are for StyleGAN2Generator, not for {type(generator).__name__}",
            "take `edits` out of the data",
        )
        return
    plan.num_edits = len(data.edits.rows(generator))
    yield ok(subject, f"{plan.num_edits} of {type(data.edits).__name__}", edits=plan.num_edits)


def check_archive_file(plan: Plan) -> Iterator[Finding]:
    """Compare an archive that a run begins with or continues with what it is to be used for."""
    generator, guidance, search = plan.generator, plan.guidance, plan.search
    path = _archive_path(plan)
    if path is None or generator is None or guidance is None or search is None:
        return
    subject = "archive file"
    if not path.exists():
        if plan.command == "fit":
            yield missing(
                subject,
                f"there is no {path.absolute()}",
                "make it by `qdgs search`, or take `archive` out",
            )
        return
    continued = _is_continued(plan, path)
    made = read_tree(path, "metadata")["metadata"]
    told = f"{path}, {size(path.stat().st_size)}, of {made['evaluations']:,} evaluations"
    if not (plan.can_draw and plan.can_judge):
        yield warning(subject, f"{told}; not compared", "mend generator and guidance first")
        return
    if made["generator"] != generator.fingerprint():
        yield wrong(
            subject,
            f"{told}, was made with {made['generator']} and not with this generator "
            f"({generator.fingerprint()})",
            "name its own archive, or none",
        )
        return
    if made["guidance"] != json.loads(json.dumps(guidance.describe())):
        say = wrong if continued else warning
        yield say(
            subject,
            f"{told}, was made with other guidance: {_differences(made['guidance'], guidance)}",
            "bring that guidance back, or search anew",
        )
        return
    if continued and path.stat().st_size < _LOADABLE:
        QDSearch(generator, guidance, search).load(path)  # raises what the run would
    if continued and plan.command == "search":
        plan.spent = made["evaluations"]
    if plan.command == "search" and made["evaluations"] >= plan.evaluations:
        yield warning(
            subject, f"{told}, is finished", f"give more `evaluations` than {plan.evaluations:,}"
        )
        return
    yield ok(subject, f"{told}, fits generator and guidance")


def check_initial_weights(plan: Plan) -> Iterator[Finding]:
    """Read the weights that a training starts from, and say in which order they take colours."""
    model, subject = plan.model, "init_from"
    if isinstance(model, ImplicitTraining) and model.init_from and plan.command == "fit":
        if model.init_from.is_file():
            yield ok(subject, f"{model.init_from}, {size(model.init_from.stat().st_size)}")
        else:
            yield missing(
                subject,
                f"there is no {model.init_from.absolute()}",
                "run the fit that makes it first",
            )
    if not isinstance(model, FaceRecognizer) or model.init_from is None:
        return
    if not model.init_from.is_file():
        yield missing(
            subject, f"there is no {model.init_from.absolute()}", "bring it, or correct the path"
        )
        return
    report = model.load_initial_weights()
    colours = "in RGB, as ours" if report.color_order == "rgb" else "in BGR, turned to RGB"
    yield ok(
        subject,
        f"{model.init_from}: {len(report.matched)} weights of {report.format}, which takes "
        f"colours {colours}",
    )


def check_checkpoint(plan: Plan) -> Iterator[Finding]:
    """Load the checkpoint that a fit goes on from, or whose weights are tested."""
    if (path := plan.checkpoint) is None:
        return
    if Path(path).suffix and not Path(path).is_file() and "://" not in path:
        yield missing(
            "ckpt_path", f"there is no {Path(path).absolute()}", "runs keep theirs in checkpoints/"
        )
        return
    if plan.command == "fit":
        check_resumable(path, plan.callbacks, folder_of(plan.loggers, plan.root))
    if plan.model is not None and Path(path).is_file():
        _load_checkpoint(plan.model, Path(path))
    yield ok("ckpt_path", path)


def check_weights(plan: Plan) -> Iterator[Finding]:
    """Warn of a test of weights that no checkpoint and no `init_from` brings."""
    if plan.command != "test" or plan.cli is None or plan.model is None:
        return
    if plan.checkpoint is None and _initial(plan.model) is None:
        yield warning(
            "weights",
            "no checkpoint is named, so that weights are tested that the configuration makes",
            "add --ckpt_path RUN/checkpoints/last.ckpt, or `model.init_args.init_from`",
        )


def _initial(model: LightningModule) -> object:
    """Return where a task starts from, if it can start from weights."""
    return getattr(model, "init_from", None)


def _load_checkpoint(model: LightningModule, path: Path) -> None:
    """Load a checkpoint as a fit does, but for what `configure_model` has yet to make.

    Raises:
        CheckpointMismatchError: It is of another model.
    """
    checkpoint = read_checkpoint(path)
    model.on_load_checkpoint(checkpoint)
    made = {name.partition(".")[0] for name in model.state_dict()}
    weights = {k: v for k, v in checkpoint["state_dict"].items() if k.partition(".")[0] in made}
    try:
        model.load_state_dict(weights, strict=model.strict_loading)
    except RuntimeError as error:
        if (found := mismatch(path, error)) is None:
            raise
        raise found from error


def _archive_path(plan: Plan) -> Path | None:
    """The archive that a run takes up, if it is there."""
    if plan.command == "search":
        return Path(plan.settings["output"])
    refresh = plan.refresh
    return None if refresh is None or refresh.path is None else Path(refresh.path)


def _is_continued(plan: Plan, path: Path) -> bool:
    """Whether the search in an archive goes on; otherwise only its elites are used."""
    refresh = plan.refresh
    if refresh is None or refresh.every_n_epochs is not None:
        return True
    return evaluations_to_reach(path) is not None


def _differences(made: dict[str, Any], guidance: Any) -> str:  # noqa: ANN401
    """Name what two descriptions of guidance do not have in common."""
    now = json.loads(json.dumps(guidance.describe()))
    names = [name for name in {**made, **now} if made.get(name) != now.get(name)]
    return ", ".join(f"{name} was {made.get(name)} and is {now.get(name)}" for name in names)


def _index_trouble(records: Path) -> str:
    """Say what is wrong with the index of a ``.rec`` file; nothing if it can be used."""
    index = records.with_suffix(".idx")
    if not index.exists():
        return "no .idx file"
    try:
        read_index(index, RecordFile(records))
    except RecordIOError as error:
        return f"an index that cannot be used ({str(error).rstrip('.')})"
    return ""


def _kind(path: Path) -> str:
    """Tell the kind of a generator's checkpoint by its first bytes."""
    with path.open("rb") as file:
        head = file.read(16)
    if head[8:9] == b"{":
        return "safetensors"
    return "a file of torch.save" if head.startswith(b"PK") else "a pickle"
