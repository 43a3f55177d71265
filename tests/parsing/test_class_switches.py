"""Another class in an overlay or on the line: nothing of the former one is handed on in silence."""

import inspect
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from qdgs_lightning.cli.main import main
from qdgs_lightning.models import ArcFace
from qdgs_lightning.models.heads.base import MarginHead
from qdgs_lightning.parsing.parser import Parser
from qdgs_lightning.studies.config import read_configs
from tests.cli.test_main import written


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


FACES = """
model:
  class_path: FaceRecognizer
  init_args:
    backbone: {class_path: IResNet, init_args: {layers: [1, 1, 1, 1], width: 2, image_size: 32}}
    head: {class_path: CosFace, init_args: {margin: 0.2, scale: 32.0}}
    optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.01, momentum: 0.9}}
data:
  class_path: FaceDataModule
  init_args: {train: set}
trainer: {max_epochs: 1}
"""
SHAPES = """
model: {class_path: ShapeClassification}
data:
  class_path: ShapesDataModule
  init_args:
    generator: {class_path: ImplicitGenerator, init_args: {weights: shapes_generator_098}}
    sampler: {class_path: RejectionSampler, init_args: {evaluations: 777}}
trainer: {max_epochs: 1}
"""


def parsed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    with pytest.raises(SystemExit) as ended:
        main(["fit", *words, "--print_config"])
    assert ended.value.code in (None, 0)
    printed = yaml.safe_load(capsys.readouterr().out)
    assert isinstance(printed, dict)
    return printed


def own_defaults(kind: type, *names: str) -> dict[str, Any]:
    parameters = inspect.signature(kind).parameters
    return {name: parameters[name].default for name in names}


def test_an_optimizer_named_on_the_line_has_its_own_defaults(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--config", written(FACES), "--model.init_args.optimizer", "torch.optim.AdamW"]
    with pytest.warns(
        UserWarning, match=r"AdamW takes .* of SGD,.* \(lr: 0.01 and momentum: 0.9\)"
    ):
        switched = parsed(capsys, *words)["model"]["init_args"]
    expected = own_defaults(torch.optim.AdamW, "lr", "weight_decay", "eps")
    assert expected["weight_decay"] == 0.01
    assert switched["optimizer"]["init_args"].items() >= expected.items()
    assert switched["head"]["init_args"] == {"margin": 0.2, "scale": 32.0}  # of the same class


def test_a_head_named_in_an_overlay_has_its_own_defaults_and_what_is_written_for_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    overlay = written("model: {init_args: {head: {class_path: ArcFace}}}", "overlay.yaml")
    words = ["--config", written(FACES), "--config", overlay, "--model.init_args.head.scale", "16"]
    with pytest.warns(UserWarning, match=r"ArcFace takes .* \(margin: 0.2 and scale: 32.0\)"):
        head = parsed(capsys, *words)["model"]["init_args"]["head"]
    assert head["init_args"].items() >= own_defaults(ArcFace, "margin").items()
    assert head["init_args"]["scale"] == 16


def test_generators_and_samplers_are_switched_alike(capsys: pytest.CaptureFixture[str]) -> None:
    overlay = """
data:
  init_args:
    generator: {class_path: VAEGenerator, init_args: {weights: mine}}
    sampler: {class_path: PriorSampler}
"""
    words = ["--config", written(SHAPES), "--config", written(overlay, "overlay.yaml")]
    with pytest.warns(UserWarning, match="takes the place of") as told:
        data = parsed(capsys, *words)["data"]["init_args"]
    sentences = [str(each.message) for each in told]
    assert sum("(weights: shapes_generator_098)" in sentence for sentence in sentences) == 1
    assert sum("(evaluations: 777)" in sentence for sentence in sentences) == 1
    assert data["generator"]["init_args"]["weights"] == "mine"
    plain = parsed(
        capsys,
        "--config",
        written(SHAPES.replace("RejectionSampler, init_args: {evaluations: 777}", "PriorSampler")),
    )
    assert data["sampler"] == plain["data"]["init_args"]["sampler"]


@pytest.mark.parametrize("name", ["CosFace", "qdgs_lightning.models.CosFace"])
def test_the_same_class_keeps_its_arguments_in_silence(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".* takes the place of ")
        words = ["--config", written(FACES), "--model.init_args.head", name]
        head = parsed(capsys, *words)["model"]["init_args"]["head"]
    assert head["init_args"] == {"margin": 0.2, "scale": 32.0}


def test_a_command_that_goes_on_is_told_of_each_switch_once() -> None:
    parser = Parser()
    parser.add_subclass_arguments(MarginHead, "head", skip={"embedding_dim", "num_classes"})
    first = written("head: {class_path: CosFace, init_args: {scale: 32.0}}", "first.yaml")
    parser.add_argument("--config", action="config")
    words = ["--config", first, "--head", "ArcFace", "--head.scale", "16"]
    with pytest.warns(UserWarning, match=r"for CosFace is not handed on \(scale: 32.0\)") as told:
        head = parser.parse_args(words).head
    assert len(told) == 1
    assert head.class_path == "qdgs_lightning.models.ArcFace"
    assert head.init_args.scale == 16.0


def test_configurations_of_tables_are_laid_over_one_another_alike() -> None:
    base = Path(written(FACES))
    overlay = "model: {init_args: {head: {class_path: NAME, init_args: {scale: 16.0}}}}"
    same = Path(written(overlay.replace("NAME", "qdgs_lightning.models.CosFace"), "same.yaml"))
    head = read_configs([base, same])["model"]["init_args"]["head"]
    assert head["init_args"] == {"margin": 0.2, "scale": 16.0}
    other = Path(written(overlay.replace("NAME", "ArcFace"), "other.yaml"))
    with pytest.warns(UserWarning, match=r"ArcFace takes .* \(margin: 0.2 and scale: 32.0\)"):
        head = read_configs([base, other])["model"]["init_args"]["head"]
    assert head == {"class_path": "ArcFace", "init_args": {"scale": 16.0}}
