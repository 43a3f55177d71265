"""Rooms: short names, names of domains, and class_paths of earlier versions."""

from importlib import import_module

import pytest

from qdgs_lightning.parsing.rooms import import_rooms

# As configurations of version 0.1 and before have them.
FORMER = [
    "qdgs_lightning.audits.AvatarAnnotator",
    "qdgs_lightning.datamodules.AnnotatedAvatarRenders",
    "qdgs_lightning.datamodules.AnnotatedRenders",
    "qdgs_lightning.datamodules.AvatarRenders",
    "qdgs_lightning.datamodules.BiasedRenders",
    "qdgs_lightning.datamodules.ShapesDataModule",
    "qdgs_lightning.generators.FaceAligner",
    "qdgs_lightning.generators.FileEdits",
    "qdgs_lightning.generators.PrincipalEdits",
    "qdgs_lightning.models.AvatarReader",
    "qdgs_lightning.models.IResNet",
    "qdgs_lightning.models.ShapeAnnotator",
    "qdgs_lightning.models.ShapeClassifier",
    "qdgs_lightning.models.create_backbone",
    "qdgs_lightning.tasks.AvatarReaderTraining",
    "qdgs_lightning.tasks.AvatarsCLIPTraining",
    "qdgs_lightning.tasks.ShapeAnnotatorTraining",
    "qdgs_lightning.tasks.ShapeClassification",
    "qdgs_lightning.tasks.ShapesCLIPTraining",
    "qdgs_lightning.tasks.StyleGAN2Regression",
]


@pytest.mark.parametrize("path", FORMER)
def test_import_rooms_keeps_class_paths_of_earlier_versions(path: str) -> None:
    import_rooms()
    package, _, name = path.rpartition(".")
    assert getattr(import_module(package), name).__name__ == name


def test_import_rooms_finds_every_domain() -> None:
    found = {module.__name__ for module in import_rooms()}
    assert {"qdgs_lightning.domains.avatars", "qdgs_lightning.domains.shapes"} <= found
