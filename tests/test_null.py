"""Null in YAML: taken where a signature has it, and refused with the option's name elsewhere."""

import inspect
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import NoneType
from typing import Any, cast, get_args, get_type_hints

import pytest
from lightning.pytorch import Callback, LightningDataModule
from torch import nn

from qdgs_lightning.audits import Source
from qdgs_lightning.cli.main import PLAIN_COMMANDS
from qdgs_lightning.errors import ConfigError, QDGSError
from qdgs_lightning.parsing.parser import Parser
from qdgs_lightning.parsing.rooms import import_rooms
from qdgs_lightning.sampling import MeasureBins, Quality, Sampler
from qdgs_lightning.search import SearchConfig

PLAIN = (SearchConfig, MeasureBins, Quality)  # given by their fields, without a class_path
KINDS = (nn.Module, Sampler, Source, LightningDataModule, Callback, *PLAIN)
BINS = [{"measure": 0, "intervals": [[-1.0, 0.0], [0.0, 1.0]]}]
OPTIMIZER = {"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}}
SCHEDULER = {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 1}}
TOY = {"class_path": "tests.toys.ToyGenerator"}
PROMPTS = {"class_path": "PromptGuidance"}
# What a class needs to be built at all, by its name.
NEEDED: dict[str, dict[str, Any]] = {
    "ArchiveSampler": {"bins": BINS},
    "PriorSampler": {"bins": BINS, "evaluations": 8},
    "RejectionSampler": {"bins": BINS, "evaluations": 8},
    "MeasureBins": BINS[0],
    "Elites": {"archive": "absent.safetensors", "generator": TOY},
    "PriorSamples": {"generator": TOY, "n": 4},
    "ImageSet": {"path": "absent"},
    "PromptAnnotator": {"guidance": PROMPTS, "bins": BINS},
    "StyleGAN2Generator": {"checkpoint": "absent.safetensors"},
    "TimmBackbone": {"model_name": "resnet10t"},
    "IResNet": {"layers": [1, 1, 1, 1]},
    "SampledHead": {"head": {"class_path": "ArcFace"}},
    "LatentAxes": {"guidance": PROMPTS, "axes": 2},
    "QDRefresh": {"search": {}},
    "FaceRecognizer": {"backbone": {"class_path": "MobileFaceNet"}, **OPTIMIZER},
}
COMMANDS: dict[str, dict[str, Any]] = {
    "search": {
        "generator": TOY,
        "guidance": {"class_path": "tests.toys.ToyGuidance"},
        "search": {},
    },
    "export": {"data": {"class_path": "SyntheticFaceDataModule"}},
    "audit": {"source": {"class_path": "ImageSet", "init_args": {"path": "absent"}}},
}


def named_in_yaml() -> Iterator[type]:
    """All classes of the package that YAML may name, by their rooms' public names."""
    for module in import_rooms():
        for name in module.__all__:
            found = getattr(module, name)
            if inspect.isclass(found) and issubclass(found, KINDS):
                yield from () if inspect.isabstract(found) else (found,)


def parameters(function: Callable[..., Any]) -> Iterator[tuple[str, bool, bool]]:
    """Name each parameter; whether its type has None, and whether it has another default."""
    hints = get_type_hints(cast(Any, function).__init__ if inspect.isclass(function) else function)
    for parameter in inspect.signature(function).parameters.values():
        hint = hints.get(parameter.name)
        if parameter.name != "self" and parameter.kind is parameter.KEYWORD_ONLY and hint:
            default = parameter.default not in (parameter.empty, None)
            yield parameter.name, hint is Any or NoneType in get_args(hint), default


CLASSES = list(dict.fromkeys(named_in_yaml()))
ALLOWED = [(c, name) for c in CLASSES for name, null, _ in parameters(c) if null]
REFUSED = [
    (c, name) for c in CLASSES for name, null, default in parameters(c) if default and not null
]


def needed(cls: type) -> dict[str, Any]:
    """Arguments without which a class cannot be built."""
    known = {**OPTIMIZER, "scheduler": SCHEDULER, "embedding_dim": 8, "num_classes": 4}
    known |= {"samples_per_epoch": 8, "batch_size": 4, "seed": 0}  # of SyntheticDataModule
    known |= {"z_dim": 8, "c_dim": 0, "w_dim": 8, "img_resolution": 8, "img_channels": 3}
    taken = inspect.signature(cls).parameters.values()
    missing = {p.name: known[p.name] for p in taken if p.default is p.empty and p.name in known}
    return {**missing, **NEEDED.get(cls.__name__, {})}


def built(cls: type, **arguments: Any) -> Any:  # noqa: ANN401
    """Build a class as YAML does."""
    parser = Parser(prog="qdgs", exit_on_error=False)
    parser.add_argument("--it", type=cls)
    of_class = {"class_path": f"{cls.__module__}.{cls.__name__}", "init_args": arguments}
    value = arguments if cls in PLAIN else of_class
    return parser.instantiate(parser.parse_object({"it": value}))["it"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("cls", "name"), ALLOWED)
def test_null_that_a_signature_has_works_or_is_refused_in_a_sentence(cls: type, name: str) -> None:
    try:
        part = built(cls, **{**needed(cls), name: None})
        if isinstance(part, LightningDataModule):
            part.setup("fit")
        elif hasattr(part, "prepare"):
            part.prepare()
    except ConfigError:
        raise  # the parser's: null is no value, or the rest of the arguments is not
    except QDGSError:
        pass  # in words of its own


@pytest.mark.parametrize(("cls", "name"), REFUSED)
def test_null_that_a_signature_lacks_is_refused_by_name(cls: type, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"\b{name}(: null is no |\.)"):
        built(cls, **{**needed(cls), name: None})


@pytest.mark.parametrize("command", [name for name in PLAIN_COMMANDS if name != "doctor"])
def test_commands_refuse_null_by_name_where_their_signature_lacks_it(command: str) -> None:
    name = command.replace("-", "_").replace(" ", "_")
    function = getattr(import_module(f"qdgs_lightning.cli.commands.{name}"), name)
    parser = Parser(prog="qdgs", exit_on_error=False)
    parser.add_function_arguments(function, as_group=False, sub_configs=True)
    taken = inspect.signature(function).parameters.values()
    files = {
        p.name: "absent" for p in taken if p.default is p.empty and p.annotation in (Path, str)
    }
    given = {**files, **COMMANDS.get(command, {})}
    for option, null, default in parameters(function):
        if null:
            parser.parse_object({**given, option: None})
        elif default:
            with pytest.raises(ConfigError, match=f"{option}: null is no "):
                parser.parse_object({**given, option: None})
