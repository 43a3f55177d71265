"""Rooms whose classes YAML may name by their short names."""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

# jsonargparse finds short names among the classes that are imported.
ROOMS = (
    "models",
    "generators",
    "guidance",
    "search",
    "sampling",
    "identities",
    "audits",
    "datamodules",
    "tasks",
    "callbacks",
)
# Packages that class_paths of earlier versions name, and where their classes are now.
_FORMER_HOMES = {
    "audits": {"domains.avatars": ["AvatarAnnotator"]},
    "datamodules": {
        "domains.avatars": ["AnnotatedAvatarRenders", "AvatarRenders"],
        "domains.shapes": ["AnnotatedRenders", "BiasedRenders", "ShapesDataModule"],
    },
    "generators": {"identities": ["FaceAligner", "FileEdits", "IdentityEdits", "PrincipalEdits"]},
    "models": {
        "domains.avatars": ["AvatarReader"],
        "domains.shapes": ["ShapeAnnotator", "ShapeClassifier"],
    },
    "tasks": {
        "domains.avatars": ["AvatarReaderTraining", "AvatarsCLIPTraining", "StyleGAN2Regression"],
        "domains.shapes": ["ShapeAnnotatorTraining", "ShapeClassification", "ShapesCLIPTraining"],
    },
}


def import_rooms() -> list[ModuleType]:
    """Import every class that YAML may name by its short name, those of domains among them.

    Classes can be named by the paths that they had in earlier versions, too.

    Returns:
        The packages; ``__all__`` of each names its public classes and functions.
    """
    domains = import_module("qdgs_lightning.domains")
    names = [f"qdgs_lightning.{room}" for room in ROOMS]
    names += [found.name for found in iter_modules(domains.__path__, f"{domains.__name__}.")]
    rooms = [import_module(name) for name in names]
    for former, homes in _FORMER_HOMES.items():
        for home, classes in homes.items():
            for name in classes:
                value = getattr(import_module(f"qdgs_lightning.{home}"), name)
                setattr(import_module(f"qdgs_lightning.{former}"), name, value)
    return rooms
