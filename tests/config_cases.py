"""Every configuration as tests run it: what makes it small, and what it should leave behind."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from qdgs_lightning.domains.avatars import AvatarReader
from qdgs_lightning.domains.avatars.make_dataset import avatars_data
from qdgs_lightning.domains.shapes import ShapeAnnotator
from qdgs_lightning.generators import ImplicitGenerator, VAEGenerator, load_stylegan2
from qdgs_lightning.guidance.clip import AVATARS_CLIP, SHAPES_CLIP, create_clip
from qdgs_lightning.weights.files import load_weights
from tests.faces import write_face_files
from tests.generators.stylegan2.official_files import official_file
from tests.generators.stylegan2.parity import Parity

CPU = {
    "trainer.accelerator": "cpu",
    "trainer.enable_model_summary": "false",
    "trainer.enable_progress_bar": "false",
    "trainer.log_every_n_steps": "1",
}
RENDERS = {
    "data.init_args.batch_size": "4",
    "data.init_args.batches_per_epoch": "2",
    "data.init_args.validation_batches": "1",
}
SHAPES = {
    "data.init_args.batch_size": "4",
    "data.init_args.samples_per_epoch": "8",
    "data.init_args.real_epochs": "1",
}
PRIOR = SHAPES | {"data.init_args.sampler.init_args.evaluations": "32"}
QD = SHAPES | {  # the last callback, QDRefresh
    "trainer.callbacks.init_args.search.calibration": "48",
    "trainer.callbacks.init_args.search.emitters": "1",
    "trainer.callbacks.init_args.search.batch_size": "8",
    "trainer.callbacks.init_args.evaluations": "56",
    "trainer.callbacks.init_args.every_n_epochs": "1",
    "trainer.callbacks.init_args.refresh_evaluations": "8",
}
FACES = {
    "model.init_args.backbone": "IResNet",
    "model.init_args.backbone.init_args.layers": "[1, 1, 1, 1]",
    "model.init_args.backbone.init_args.width": "2",
    "model.init_args.backbone.init_args.image_size": "32",
    "data.init_args.image_size": "32",
    "data.init_args.num_workers": "0",
}
TRAIN_FACES = FACES | {"data.init_args.batch_size": "4", "trainer.precision": "32-true"}
SYNTHETIC_FACES = TRAIN_FACES | {
    "data.init_args.guidance.init_args.model": SHAPES_CLIP,
    "data.init_args.guidance.init_args.pretrained": SHAPES_CLIP,
    "data.init_args.identities": "4",
    "data.init_args.edits.init_args.number": "1",
}
RANDOM_FACES = SYNTHETIC_FACES | {"data.init_args.sampler.init_args.evaluations": "40"}
QD_FACES = SYNTHETIC_FACES | {  # the last callback, QDRefresh
    # Where the images of the small network lie.
    "trainer.callbacks.init_args.search.ranges": "[[.03, .06], [.4, .7], [-.1, .1], [.02, .05]]",
    "trainer.callbacks.init_args.search.calibration": "48",
    "trainer.callbacks.init_args.search.emitters": "1",
    "trainer.callbacks.init_args.search.batch_size": "8",
    "trainer.callbacks.init_args.evaluations": "56",
    "trainer.callbacks.init_args.every_n_epochs": "1",
    "trainer.callbacks.init_args.refresh_evaluations": "8",
}
GENERATED_AVATARS = {
    "data.init_args.batch_size": "4",
    "data.init_args.identities": "4",
    "data.init_args.slots": "4",
}
QD_AVATARS = GENERATED_AVATARS | {  # the last callback, QDRefresh
    "trainer.callbacks.init_args.search.calibration": "200",
    "trainer.callbacks.init_args.search.emitters": "1",
    "trainer.callbacks.init_args.search.batch_size": "8",
    "trainer.callbacks.init_args.evaluations": "208",
}
AVATAR_LOGS = ("train/loss", "pool/evaluated", "pool/identities")
GROUP_LOGS = ("val/skin/own/worst", "val/age/own/disparate_impact")
GENERATOR_LOGS = ("train/reconstruction", "train/flow", "val/reconstruction", "lr-Adam")
POOL_LOGS = ("train/loss", "pool/evaluated", "pool/distinct")
IDENTITY_LOGS = ("train/loss", "val/mean", "pool/evaluated", "pool/identities", "pool/left_out")


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A configuration of `qdgs fit`.

    Attributes:
        small: Options that make it take seconds.
        logs: Some of its metrics.
        over: The configuration that it is laid over.
        after: The configuration whose checkpoint it starts from.
        exports: What its weights belong to: an attribute of the task, and how to load another.
        files: Makes the files that it reads, in the folder where it runs.
    """

    small: dict[str, str]
    logs: tuple[str, ...]
    over: str | None = None
    after: str | None = None
    exports: tuple[str, Callable[[Path], nn.Module]] | None = None
    files: Callable[[Path], None] | None = None


def write_generated_face_files(folder: Path) -> None:
    """Make a benchmark, and a small network under the name of the one of FFHQ."""
    write_face_files(folder)
    network = official_file(Parity("sg2_res32_orig"))
    (folder / "data" / "stylegan2-ffhq-256x256.pkl").write_bytes(network)


def write_avatar_files(folder: Path) -> None:
    """Make a training set and benchmarks of avatars."""
    root = folder / "data" / "avatars"
    avatars_data(
        output=root, identities=4, images_per_identity=2, pairs=20, benchmark_identities=40
    )


def loader(make: Callable[[], nn.Module]) -> Callable[[Path], nn.Module]:
    """Load weights into what is made."""

    def load(path: Path) -> nn.Module:
        module = make()
        load_weights(module, path)
        return module

    return load


IMPLICIT = ("generator", loader(lambda: ImplicitGenerator(None)))
FITS = {
    "shapes_none": Fit(small=SHAPES, logs=("train/loss",)),
    "shapes_oracle": Fit(small=SHAPES, logs=("train/loss",)),
    "shapes_random": Fit(small=PRIOR, logs=POOL_LOGS),
    "shapes_rejection": Fit(small=PRIOR, logs=POOL_LOGS),
    "shapes_qd": Fit(small=QD, logs=(*POOL_LOGS, "qd/coverage", "qd/evaluations")),
    "shapes_rare": Fit(
        small=QD, logs=(*POOL_LOGS, "qd/coverage", "qd/evaluations"), over="shapes_qd"
    ),
    "shapes_generator": Fit(small=RENDERS, logs=GENERATOR_LOGS, exports=IMPLICIT),
    "shapes_generator_098": Fit(
        small=RENDERS, logs=GENERATOR_LOGS, after="shapes_generator", exports=IMPLICIT
    ),
    "shapes_vae": Fit(
        small=RENDERS,
        logs=("train/loss", "train/kl", "val/reconstruction"),
        exports=("generator", loader(VAEGenerator)),
    ),
    "shapes_clip": Fit(
        small=RENDERS,
        logs=("train/loss", "val/shape", "val/colour"),
        exports=("clip", loader(lambda: create_clip(SHAPES_CLIP, None))),
    ),
    "shapes_annotator": Fit(
        small=RENDERS,
        logs=("train/loss", "val/shape_accuracy", "val/colour_accuracy"),
        exports=("annotator", loader(lambda: ShapeAnnotator(None))),
    ),
    "avatars_generator": Fit(
        small=RENDERS,
        logs=("train/pixels", "train/mapping", "val/pixels", "val/psnr", "lr-Adam"),
        exports=("network", load_stylegan2),
    ),
    "avatars_clip": Fit(
        small=RENDERS | {"data.init_args.validation_batches": "8"},  # for some of each group
        logs=("train/loss", "val/skin", "val/age"),
        exports=("clip", loader(lambda: create_clip(AVATARS_CLIP, None))),
    ),
    "avatars_reader": Fit(
        small=RENDERS,
        logs=("train/loss", "val/skin_accuracy", "val/quality_accuracy"),
        exports=("annotator", loader(lambda: AvatarReader(None))),
    ),
    "avatars_rand": Fit(
        small=GENERATED_AVATARS | {"data.init_args.sampler.init_args.evaluations": "200"},
        logs=(*AVATAR_LOGS, *GROUP_LOGS),
        files=write_avatar_files,
    ),
    "avatars_qd": Fit(
        small=QD_AVATARS,
        logs=(*AVATAR_LOGS, *GROUP_LOGS, "qd/coverage"),
        files=write_avatar_files,
    ),
    **{
        f"avatars_qd_{name}": Fit(
            small=QD_AVATARS | more, logs=(*AVATAR_LOGS, "qd/coverage"), over="avatars_qd"
        )
        for name, more in {
            "published": {},
            "wplus": {},
            "cells": {},
            "one_view": {},
            "refresh": {"trainer.callbacks.init_args.refresh_evaluations": "8"},
        }.items()
    },
    "avatars_none": Fit(
        small={"data.init_args.batch_size": "4", "trainer.check_val_every_n_epoch": "1"},
        logs=("train/loss", "lr-AdamW/pg1", *GROUP_LOGS),
        files=write_avatar_files,
    ),
    "faces_casia": Fit(small=TRAIN_FACES, logs=("val/mean", "lr-SGD/pg1"), files=write_face_files),
    "faces_casia_r50_arcface": Fit(
        small=TRAIN_FACES, logs=("val/lfw", "lr-SGD"), files=write_face_files
    ),
    "faces_rand50": Fit(small=RANDOM_FACES, logs=IDENTITY_LOGS, files=write_generated_face_files),
    "faces_qd50": Fit(
        small=QD_FACES,
        logs=(*IDENTITY_LOGS, "qd/coverage", "qd/evaluations"),
        files=write_generated_face_files,
    ),
    "faces_published_search": Fit(
        small=QD_FACES,
        logs=(*IDENTITY_LOGS, "qd/coverage", "qd/evaluations"),
        over="faces_qd50",
        files=write_generated_face_files,
    ),
}
TESTS = {"faces_test": "faces_casia"}  # and whose checkpoint they test
SEARCHES = {
    "shapes_search": {"emitters": "2", "batch_size": "4"},
    "shapes_search_published": {},
}
