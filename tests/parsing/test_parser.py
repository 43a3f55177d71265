"""What a command says of values that the classes of a configuration refuse."""

from pathlib import Path

import pytest
import torch
import yaml

from qdgs_lightning.cli.main import main
from qdgs_lightning.parsing.complaints import one_line
from tests.boring import BoringTask
from tests.cli.test_main import CONFIG, complaint, written


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["qdgs"])


FACES = CONFIG.replace(
    "tests.boring.BoringTask\n  init_args: {lr: 0.05}",
    "FaceRecognizer\n  init_args: {backbone: {class_path: BACKBONE, init_args: ARGS}}",
)


@pytest.mark.parametrize(
    ("backbone", "args", "told"),
    [
        ("create_backbone", "{name: ir_102}", "There is no backbone 'ir_102' (did you mean 'ir_"),
        ("IResNet", "{layers: [1, 1]}", "layers is [1, 1]"),
    ],
)
def test_what_a_backbone_refuses_is_told_with_its_key(backbone: str, args: str, told: str) -> None:
    path = f"qdgs_lightning.models.{backbone}"
    config = written(FACES.replace("BACKBONE", path).replace("ARGS", args))
    said = complaint("fit", "--config", config)
    assert said.startswith(f"qdgs: model.init_args.backbone: {told}")


class BuggyBackbone(torch.nn.Module):
    """Cannot be built."""

    def __init__(self) -> None:
        super().__init__()
        raise KeyError("bug")


def test_a_bug_in_a_backbone_is_not_told_as_a_mistake() -> None:
    path = "tests.parsing.test_parser.BuggyBackbone"
    config = written(FACES.replace("BACKBONE", path).replace("ARGS", "{}"))
    with pytest.raises(ValueError, match="bug"):
        main(["fit", "--config", config])


class Injected(BoringTask):
    """Has an optimizer of the configuration's."""

    def __init__(self, *, rate: float = 0.1, factor: float = 1.0) -> None:
        super().__init__()
        self.rate, self.factor = rate, factor

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Gradient descent of any rate, scheduled."""
        optimizer = torch.optim.SGD(self.parameters(), lr=self.rate)
        torch.optim.lr_scheduler.ConstantLR(optimizer, factor=self.factor)
        return optimizer


STOPPING = """  callbacks:
  - {class_path: EarlyStopping, init_args: {monitor: train/los}}
"""


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        (
            "BoringTask\n  init_args: {lr: 0.05}",
            "{rate: -1}",
            "(Invalid learning rate: -1.0): corr",
        ),
        (
            "BoringTask\n  init_args: {lr: 0.05}",
            "{factor: -1}",
            "scheduler refuses its arguments (",
        ),
        (
            "max_epochs: 1",
            "max_epochs: 1\n  devices: two",
            "`devices` says nothing that can be had",
        ),
        ("  logger:", f"{STOPPING}  logger:", "train/los"),
        ("tests.boring.BoringTask", "tests.boring.BoringData", "BoringData' is no LightningModule"),
        ("class_path: CSVLogger", "class_path: FaceRecognizer", "'FaceRecognizer' is no Logger"),
    ],
)
def test_values_of_other_libraries_are_refused_in_a_sentence(
    right: str, wrong: str, told: str
) -> None:
    if wrong.startswith("{"):
        right, wrong = f"boring.{right}", f"parsing.test_parser.Injected\n  init_args: {wrong}"
    assert right in CONFIG
    assert told in complaint("fit", "--config", written(CONFIG.replace(right, wrong)))


def test_files_that_are_no_configuration_are_named() -> None:
    Path("weights.yaml").write_bytes(b"\xe8\xff\x00")
    assert "weights.yaml is no text" in complaint("fit", "--config", "weights.yaml")
    assert "e.yaml has no keys" in complaint("fit", "--config", written("", "e.yaml"))
    search = written(
        "generator: {class_path: ImplicitGenerator, init_args: {weights: a}}", "s.yaml"
    )
    assert "a configuration of `qdgs search`" in complaint("fit", "--config", search)
    assert "a configuration of `qdgs fit`" in complaint("search", "--config", written(CONFIG))


def test_what_is_missing_is_advised_once() -> None:
    assert complaint("search", "--generator", "StyleGAN2Generator").count("--config") == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["search", "--config=shapes_search", "--search.algorithm=cmaes"],
            "search.algorithm: 'cmaes' is none of its values (did you mean 'cma_mae'?); give ",
        ),
        (
            ["fit", "--config=shapes_none", "--trainer.precision=bf16-mix"],
            "trainer.precision: 'bf16-mix' is none of its values (did you mean 'bf16-mixed'?)",
        ),
        (
            ["data", "pack", "a", "b", "--format=rek"],
            "format: 'rek' is none of its values (did you mean 'rec'?); give auto, rec, bin.",
        ),
        (
            ["fit", "--config=shapes_none", "--trainer.max_epochs=ten"],
            "trainer.max_epochs: expected a int, not 'ten'.",
        ),
    ],
)
def test_a_value_out_of_several_is_told_with_all_of_them(words: list[str], told: str) -> None:
    assert complaint(*words).startswith(f"qdgs: {told}")


@pytest.mark.parametrize("key", ["model", "model.optimizer", "trainer.callbacks+"])
def test_modules_that_are_not_found_are_told_with_the_folder(key: str, tmp_path: Path) -> None:
    words = ["fit", "--config=shapes_none", f"--{key}=mine_alone.Thing"]
    assert f"nor is there mine_alone.py or mine_alone/ in {tmp_path}: inst" in complaint(*words)
    Path("mine_alone.py").write_text("import no_such_module\nclass Thing: ...\n")
    told = complaint(*words)
    assert f"(it lies in {tmp_path}, where Python does not look: write PYTHONPATH=. befo" in told
    assert "Callable" not in told


def test_what_a_module_of_ones_own_imports_is_not_looked_for_in_the_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("importing.py").write_text("import no_such_module\n")
    told = complaint("fit", "--config=shapes_none", "--model=importing.Thing")
    assert "No module named 'no_such_module'" in told
    assert "PYTHONPATH" not in told


def test_a_callback_that_is_there_already_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", "--config=shapes_qd", "--trainer.fast_dev_run=1"]
    told = complaint(*words, "--trainer.callbacks+=QDRefresh")
    assert told.startswith("qdgs: trainer.callbacks holds QDRefresh twice, and ")
    with pytest.raises(SystemExit) as ended:
        main([*words, "--trainer.callbacks+=LearningRateMonitor", "--print_config"])
    assert ended.value.code in (None, 0)
    callbacks = yaml.safe_load(capsys.readouterr().out)["trainer"]["callbacks"]
    names = [each["class_path"].rpartition(".")[2] for each in callbacks]
    assert names[-1] == "LearningRateMonitor"
    assert "QDRefresh" in names
    wrong = written("trainer:\n  max_epochs: 1\n a: 2\n", "second.yaml")
    assert complaint("fit", "--config=shapes_qd", "--config", wrong).startswith(
        "qdgs: second.yaml is not YAML in line 3, column 2 ("
    )


def test_a_class_that_a_file_could_name_is_told_as_any_other() -> None:
    told = (
        'Parser key "source":\n  - Expected a path but flat either not accessible or invalid\n'
        "  - Expected a dot import path string: flat"
    )
    assert one_line(told) == "source: there is no class 'flat'"
