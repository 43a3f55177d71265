"""The glossary has every row that tables print and every number that loggers get."""

import re
from pathlib import Path

import pytest
import torch

from qdgs_lightning.audits import Annotations, Attribute, SourceReport, report_terminal
from qdgs_lightning.audits.shares import share_tables
from qdgs_lightning.identities.report import IdentityReport
from qdgs_lightning.metrics import GroupAccuracy
from qdgs_lightning.reporting.face_fairness import fairness_scalars
from qdgs_lightning.sampling.pool import _REASONS, Candidates, PoolReport
from qdgs_lightning.sampling.quotas import Quotas
from qdgs_lightning.search.coverage import Coverage
from tests.search.test_archive import make_archive

ROOT = Path(__file__).parents[1]
GLOSSARY = (ROOT / "docs/glossary.md").read_text()


def logged() -> list[str]:
    """Names of what a pool, a pool of identities and their loggers say."""
    candidates = Candidates(
        latents=torch.zeros(2, 1),
        labels=torch.zeros(2, 1, dtype=torch.int64),
        bins=torch.zeros(2, dtype=torch.int64),
        cells=torch.zeros(2, dtype=torch.int64),
        evaluated=2,
        dropped=dict.fromkeys(_REASONS, 0),
        bin_names=("red",),
    )
    pool = PoolReport.of(candidates, torch.tensor([1, 2]), wanted=torch.tensor([1.0]))
    identities = IdentityReport(
        bin_names=("red",),
        available=(2,),
        identities=(1,),
        wanted=1,
        new=1,
        retired=0,
        held_over=0,
        free_slots=0,
        left_out=0,
        evaluated=2,
        dropped={},
        smallest=2,
        largest=2,
        spread=0.5,
        shares=(1.0,),
    )
    return [*pool.metrics(), *identities.metrics()]


@pytest.mark.parametrize("name", [*dict.fromkeys(logged()), *_REASONS])
def test_what_pools_log_is_explained(name: str) -> None:
    general = re.sub(r"^(pool/(?:dropped|available|drawn|identities))/.*", r"\1/...", name)
    if general == "pool/identities/...":  # a part of `pool/identities`
        general = "pool/identities"
    assert f"`{general}`" in GLOSSARY


def test_what_a_search_logs_is_explained() -> None:
    source = (ROOT / "src/qdgs_lightning/callbacks/qd_refresh.py").read_text()
    shares = Coverage.of(make_archive(5)[0], intervals={0: [(0.0, 0.5)]}).shares()
    names = [*re.findall(r'"(qd/\w+)"', source), *(f"qd/{name}" for name in shares)]
    assert len(names) >= 10
    for name in names:
        assert f"`{name}`" in GLOSSARY, name


def test_rows_of_an_audit_are_explained() -> None:
    colour = Attribute(name="colour", classes=("a", "b", "c", "d"))
    annotations = Annotations(
        attributes=(colour,),
        labels=torch.tensor([[0], [1], [2], [3], [-2]]),
        units=torch.arange(5),
        weights=torch.ones(5, dtype=torch.float64),
    )
    even = Quotas.of(dict.fromkeys(colour.classes, 0.25), [colour.classes])
    report = SourceReport(
        name="set",
        source={},
        labelled_by={},
        images=5,
        units=5,
        unit="images",
        unit_guessed="",
        num_bootstrap=10,
        seed=0,
        tables=share_tables(annotations, targets=even, num_bootstrap=10),
    )
    (table,) = report_terminal([report])
    rows = list(table.columns[0].cells)[len(colour.classes) :]
    assert len(rows) == 9
    for row in rows:
        assert f"**{row}**" in GLOSSARY, row


def test_accuracies_are_explained() -> None:
    metric = GroupAccuracy(["red"])
    scalars = fairness_scalars({"a": 0.5, "b": 0.9}, {"dark": 0.5, "light": 0.9})
    for name in [*metric.compute(), *scalars]:
        known = {"red", "dark", "light"}  # groups
        assert name in known or re.search(rf"(\*\*|`|, ){name}\b", GLOSSARY), name


def test_quotations_are_the_words_of_the_programs() -> None:
    """Those of the FAQ, without the numbers and names that stand for others."""
    page = " ".join((ROOT / "docs/faq.md").read_text().split())
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    for quotation in (
        "Nothing to draw for",
        "objective below quality.objective or quality.quantile",
        "of the cells inside the prior",
        "evaluations can fill",
        "prior samples has an objective above search.objective_min",
        "which is not installed",
        "latents of",
        "from now on",
        "draws from",
    ):
        assert quotation in page, quotation
        assert quotation in source, quotation
