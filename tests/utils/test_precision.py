"""Numbers in which networks compute, set from YAML and by options."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from qdgs_lightning.cli.main import main
from qdgs_lightning.doctor.run import examine

FIT = """
model: {class_path: tests.boring.BoringTask}
data: {class_path: tests.boring.BoringData}
trainer: {max_epochs: 1, accelerator: cpu, logger: false, enable_checkpointing: false}
float32_matmul_precision: high
"""
SEARCH = """
generator: {class_path: tests.toys.ToyGenerator}
guidance: {class_path: tests.toys.ToyGuidance}
search: {grid: [5, 5], algorithm: map_elites, calibration: 64}
evaluations: 300
accelerator: cpu
output: archive.safetensors
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fit.yaml").write_text(FIT)
    (tmp_path / "search.yaml").write_text(SEARCH)
    yield
    torch.set_float32_matmul_precision("highest")


def test_products_are_as_exact_as_the_command_says() -> None:
    main(["fit", "--config", "fit.yaml"])
    assert torch.get_float32_matmul_precision() == "high"
    main(["fit", "--config", "fit.yaml", "--float32_matmul_precision", "medium"])
    assert torch.get_float32_matmul_precision() == "medium"
    main(["search", "--config", "search.yaml"])
    assert torch.get_float32_matmul_precision() == "highest"
    main(["search", "--config", "search.yaml", "--float32_matmul_precision", "high"])
    assert torch.get_float32_matmul_precision() == "high"


@pytest.mark.parametrize("name", ["fit.yaml", "search.yaml"])
def test_the_doctor_takes_the_option_and_leaves_the_setting(name: str) -> None:
    words = ["--config", name, "--float32_matmul_precision", "high"]
    states = {finding.subject: finding.state for finding in examine(words, probe_seconds=0)}
    assert states["configuration"] == "ok"
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("command", ["fit", "search"])
def test_what_torch_does_not_know_is_refused(command: str) -> None:
    words = [command, "--config", f"{command}.yaml", "--float32_matmul_precision", "best"]
    with pytest.raises(SystemExit, match="highest"):
        main(words)
