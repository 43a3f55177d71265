"""What the tests of ``qdgs export`` have in common: an archive, a configuration, and readers."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from qdgs_lightning.cli.main import main
from qdgs_lightning.sampling import ArchiveSampler, MeasureBins
from qdgs_lightning.search import Archive, QDSearch, SearchConfig
from tests.audits.identity_data import NoiseGenerator, NoiseIdentities
from tests.toys import ToyGuidance

INF = float("inf")
BINS = [{"measure": 0, "intervals": [[-INF, 0.5], [0.5, INF]], "names": ["pale", "red"]}]
BATCH = 16


def write_archive(folder: Path) -> Path:
    """Search a little."""
    search = QDSearch(
        NoiseGenerator(),
        ToyGuidance(),
        SearchConfig(grid=(9, 9), algorithm="map_elites", calibration=64, emitters=1),
    )
    search.run(200)
    path = folder / "archive.safetensors"
    search.archive.save(path)
    return path


def write_config(folder: Path, *, archive: Path) -> list[str]:
    """Write the configuration of a fit as its run folder keeps it, and the command to export."""
    path = folder / "config.yaml"
    content = {
        "seed_everything": 3,
        "model": {"class_path": "tests.boring.BoringTask", "init_args": {"lr": 0.1}},
        "trainer": {"accelerator": "cpu", "devices": 1, "strategy": "auto", "max_epochs": 2},
        "data": {
            "class_path": "tests.audits.identity_data.NoiseIdentities",
            "init_args": {"sampler": {"class_path": "ArchiveSampler", "init_args": {"bins": BINS}}},
        },
        "ckpt_path": None,
        "weights_only": None,
    }
    path.write_text(yaml.safe_dump(content))
    sizes = ["--batch_size", str(BATCH), "--shard_size", "50"]
    return ["export", "--config", str(path), "--archive", str(archive), *sizes]


def sampler() -> ArchiveSampler:
    """The sampler of the configuration."""
    bins = [MeasureBins(measure=0, intervals=[(-INF, 0.5), (0.5, INF)], names=["pale", "red"])]
    return ArchiveSampler(bins=bins)


def data(archive: Path, **settings: Any) -> NoiseIdentities:
    """The datamodule of the configuration."""
    source = NoiseIdentities(sampler=sampler(), **settings)
    source.set_archive(Archive.load(archive))
    return source


def tree(root: Path) -> dict[str, bytes]:
    """The contents of all files."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def complaint(*words: str) -> str:
    """The only sentence that a failing command says."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert isinstance(caught.value.code, str)
    assert "\n" not in caught.value.code
    return caught.value.code


def card(root: Path) -> dict[str, Any]:
    """The data card, which must be strict JSON."""
    content = json.loads((root / "card.json").read_text(), parse_constant=pytest.fail)
    assert isinstance(content, dict)
    return content
