"""``qdgs data identities``: numbers against embeddings and scipy; pairs; what is refused."""

import csv
import json
from itertools import combinations
from pathlib import Path

import pytest
import torch
import yaml
from scipy.stats import mannwhitneyu
from torch import Tensor, nn

from qdgs_lightning.cli.main import main
from qdgs_lightning.datasets import open_face_dataset
from qdgs_lightning.datasets.resizing import fit_square
from qdgs_lightning.datasets.sample import sample_pairs
from qdgs_lightning.models import IResNet, create_backbone
from qdgs_lightning.tasks import FaceRecognizer
from tests.datasets.face_sets import complaint
from tests.faces import write_training_set

SMALL = {"layers": [1, 1, 1, 1], "width": 8, "embedding_dim": 16, "image_size": 16}


def run_folder(root: Path) -> tuple[Path, IResNet]:
    """Write what a fit leaves of a small backbone, and return that."""
    torch.manual_seed(0)
    backbone = IResNet(**SMALL)  # type: ignore[arg-type]
    (root / "checkpoints").mkdir(parents=True)
    weights = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    torch.save({"state_dict": weights}, root / "checkpoints" / "last.ckpt")
    part = {"class_path": "qdgs_lightning.models.IResNet", "init_args": SMALL}
    model = {"class_path": "FaceRecognizer", "init_args": {"backbone": part}}
    (root / "config.yaml").write_text(yaml.safe_dump({"model": model, "trainer": {}}))
    return root, backbone


def identities(*words: object) -> dict[str, object]:
    main(["data", "identities", "--accelerator", "cpu", *map(str, words)])
    found: dict[str, object] = json.loads(Path("runs/identities/identities.json").read_text())
    return found


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_numbers_are_those_of_all_pairs(capsys: pytest.CaptureFixture[str]) -> None:
    run, backbone = run_folder(Path("run"))
    root = write_training_set(Path("set"), n=5, each=4, side=24)
    found = identities("--path", root, "--run", run, "--num_bootstrap", 100, "--batch_size", 7)
    images = open_face_dataset(root)
    batch = torch.stack([fit_square(images[row][0], 16) for row in range(20)]) / 255
    with torch.no_grad():
        embeddings = FaceRecognizer(backbone=backbone).eval().embed(batch)
    cosines = (embeddings @ embeddings.T).double()
    within: list[float] = []
    between: list[float] = []
    for a, b in combinations(range(20), 2):
        kind = within if images.labels[a] == images.labels[b] else between
        kind.append(float(cosines[a, b]))
    expected = mannwhitneyu(within, between).statistic / (len(within) * len(between))
    auc = found["auc"]
    assert isinstance(auc, dict)
    assert auc["value"] == pytest.approx(expected, abs=1e-3)
    assert auc["low"] <= auc["value"] <= auc["high"]
    assert found["pairs_within"] == len(within) == 30
    assert found["pairs_between"] == len(between) == 160
    assert found["cosine_within"]["mean"] == pytest.approx(sum(within) / 30, abs=1e-4)  # type: ignore[index]
    assert found["images_embedded"] == 20
    told = capsys.readouterr().out
    assert f"{auc['value']:.4f}" in told
    assert "30 pairs of one identity and 160 of two, of 5" in " ".join(told.split())
    with Path("runs/identities/identities.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["identity"] for row in rows) == list("01234")
    assert [row["cosine_within"] for row in rows] == sorted(row["cosine_within"] for row in rows)
    of_first = [float(cosines[a, b]) for a, b in combinations(range(4), 2)]
    first = next(row for row in rows if row["identity"] == "0")
    assert float(first["cosine_within"]) == pytest.approx(sum(of_first) / 6, abs=1e-3)
    assert (first["pairs_within"], first["pairs_between"]) == ("6", "64")
    assert Path("runs/identities/roc.png").read_bytes()[1:4] == b"PNG"


def test_weights_of_a_named_network(tmp_path: Path) -> None:
    root = write_training_set(Path("set"), n=3, each=3, side=32)
    backbone = create_backbone("mobilefacenet", image_size=32)
    torch.save(backbone.state_dict(), "weights.pt")
    found = identities(
        *("--path", root, "--backbone", "mobilefacenet", "--checkpoint", "weights.pt"),
        *("--image_size", 32, "--pairs", 5, "--seed", 3, "--num_bootstrap", 0),
    )
    assert (found["pairs_within"], found["pairs_between"]) == (5, 5)
    assert found["auc"]["low"] is None  # type: ignore[index]


class AnySize(nn.Module):
    """A backbone of a user's own that says no size: the spread of colours in fine and coarse."""

    embedding_dim = 12

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(12))

    def forward(self, images: Tensor) -> Tensor:
        """Take moments, and how neighbouring pixels differ, which depends on the size."""
        steps = images.diff(dim=3).abs().mean(dim=(2, 3)), images.diff(dim=2).abs().mean(dim=(2, 3))
        moments = images.mean(dim=(2, 3)) - 0.5, images.var(dim=(2, 3))
        return self.scale * torch.cat([*steps, *moments], dim=1)


@pytest.mark.parametrize("named", ["mobilefacenet", f"{__name__}.AnySize"])
def test_images_of_a_run_are_of_the_size_of_its_data(named: str) -> None:
    torch.manual_seed(0)
    own = named.endswith("AnySize")
    backbone = AnySize() if own else create_backbone(named, image_size=32)
    run, _ = run_folder(Path("run"))
    weights = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    torch.save({"state_dict": weights}, run / "checkpoints" / "last.ckpt")
    part = {"class_path": named} if own else named
    model = {"class_path": "FaceRecognizer", "init_args": {"backbone": part}}
    data = {"class_path": "FaceDataModule", "init_args": {"image_size": 32}}
    (run / "config.yaml").write_text(yaml.safe_dump({"model": model, "data": data}))
    root = write_training_set(Path("set"), n=3, each=3, side=48)
    found = identities("--path", root, "--run", run, "--num_bootstrap", 0)
    images = open_face_dataset(root)
    batch = torch.stack([fit_square(images[row][0], 32) for row in range(9)]) / 255
    with torch.no_grad():
        embeddings = FaceRecognizer(backbone=backbone).eval().embed(batch)
    cosines = (embeddings @ embeddings.T).double()
    within = [
        float(cosines[a, b])
        for a, b in combinations(range(9), 2)
        if images.labels[a] == images.labels[b]
    ]
    mean = pytest.approx(sum(within) / 9, abs=1e-6)
    assert found["cosine_within"]["mean"] == mean  # type: ignore[index]


def test_an_entry_and_an_order_of_colours_can_be_named(tmp_path: Path) -> None:
    root = write_training_set(Path("set"), n=3, each=3, side=32)
    torch.manual_seed(0)
    backbone = create_backbone("mobilefacenet", image_size=32)
    weights = backbone.state_dict()
    first = str(backbone.colour_weight)
    turned = weights | {first: weights[first].flip(1)}
    other = {name: value + 1 for name, value in weights.items()}
    torch.save(weights, "weights.pt")
    torch.save({"model": other, "ema": turned}, "entries.pt")
    words = [f"--path={root}", "--backbone=mobilefacenet", "--image_size=32"]
    words += ["--num_bootstrap=0", "--checkpoint"]
    plain = identities(*words, "weights.pt")
    assert "`entry`" in complaint("identities", *words, "entries.pt")
    found = identities(*words, "entries.pt", "--entry", "ema", "--color_order", "bgr")
    assert found["auc"] == plain["auc"]
    assert found["cosine_between"] == pytest.approx(plain["cosine_between"])
    wrong = identities(*words, "entries.pt", "--entry", "ema")
    assert wrong["cosine_between"] != pytest.approx(plain["cosine_between"])


@pytest.mark.parametrize("images", [200, 3000])
def test_pairs_are_drawn_once_each_by_the_seed(images: int) -> None:
    labels = torch.arange(images) % (images // 5)
    generators = (torch.Generator().manual_seed(seed) for seed in (0, 0, 1))
    (within, between), again, other = (sample_pairs(labels, 150, each) for each in generators)
    assert len(within) == len(between) == 150
    assert (labels[within[:, 0]] == labels[within[:, 1]]).all()
    assert (labels[between[:, 0]] != labels[between[:, 1]]).all()
    for rows in (within, between):
        assert len({frozenset(pair) for pair in rows.tolist()}) == 150
    assert torch.equal(within, again[0])
    assert torch.equal(between, again[1])
    assert not torch.equal(between, other[1])


@pytest.mark.parametrize("images", [50, 3000])
def test_all_pairs_of_one_identity_where_there_are_no_more(images: int) -> None:
    labels = torch.arange(images) // 2
    within, between = sample_pairs(labels, 2000, torch.Generator().manual_seed(0))
    assert len({frozenset(pair) for pair in within.tolist()}) == images // 2
    assert len(between) == min(2000, images * (images - 2) // 2)


def test_what_is_refused() -> None:
    run, _ = run_folder(Path("run"))
    root = write_training_set(Path("set"), n=3, each=2, side=16)
    words = ("identities", "--path", root)
    assert "either --run" in complaint(*words)
    assert "either --run" in complaint(*words, "--run", run, "--backbone", "ir_50")
    assert "no nowhere/config.yaml" in complaint(*words, "--run", "nowhere")
    assert "give it as --checkpoint" in complaint(*words, "--backbone", "mobilefacenet")
    assert "no file of weights gone.ckpt" in complaint(
        *words, "--run", run, "--checkpoint", "gone.ckpt"
    )
    assert "pairs is 0" in complaint(*words, "--run", run, "--pairs", 0)
    single = write_training_set(Path("single"), n=3, each=1, side=16)
    assert "make no pairs of one identity" in complaint(
        "identities", "--path", single, "--run", run
    )
    (run / "config.yaml").write_text("model: {}")
    assert "names no backbone" in complaint(*words, "--run", run)
    assert not Path("runs").exists()
