"""What an annotator says of images of known truth."""

import json
from pathlib import Path

import pytest
import torch
from scipy.stats import binomtest, chi2_contingency
from sklearn.metrics import confusion_matrix

from qdgs_lightning.audits import Agreement, Attribute, read_confusion

SKIN = Attribute(name="skin", classes=("light", "dark"))
AGE = Attribute(name="age", classes=("young", "old"))


def test_confusion_and_accuracy(tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(0)
    truth, said = torch.randint(-1, 2, (2, 300, 1), generator=random)
    truth[200:] = -2
    (found,) = Agreement.of(truth, said, units=torch.arange(300), attributes=[SKIN])
    expected = confusion_matrix(truth[:200, 0], said[:200, 0], labels=[0, 1, -1])
    assert found.counts.tolist() == expected.tolist()
    right = int((truth[:200] == said[:200]).sum())
    exact = binomtest(right, 200).proportion_ci(0.95)
    assert found.accuracy == pytest.approx((right / 200, exact.low, exact.high))
    assert not found.uneven
    path = tmp_path / "errors.json"
    path.write_text(json.dumps({"skin": found.as_json()["confusion"]}))
    assert read_confusion(path, [SKIN]).counts[0][0].tolist() == expected.tolist()


def test_labelled_images_that_are_not_like_the_others_are_told() -> None:
    """As many of every class are labelled, and most images are of one."""
    said = torch.cat([torch.arange(100) % 2, (torch.arange(900) % 10 == 0).long()])[:, None]
    truth = torch.where(torch.arange(1000)[:, None] < 100, said, -2)
    (found,) = Agreement.of(truth, said, units=torch.arange(1000), attributes=[SKIN])
    assert found.uneven
    # Hundreds of images of a few people may well differ from others by chance.
    units = torch.arange(1000) // 50
    (found,) = Agreement.of(truth, said, units=units, attributes=[SKIN])
    assert not found.uneven


def test_attributes_of_which_nothing_is_known_are_left_out() -> None:
    truth = torch.tensor([[-2, 0], [-2, 1]])
    found = Agreement.of(truth, truth.clamp(min=-1), units=torch.arange(2), attributes=[SKIN, AGE])
    assert [(each.attribute, each.p_even) for each in found] == [("age", 1.0)]


def test_one_image_of_each_unit_is_compared_with_the_others() -> None:
    """The first of each, and of what was said along this attribute alone."""
    random = torch.Generator().manual_seed(1)
    said = torch.randint(-1, 2, (240, 2), generator=random)
    truth = torch.full_like(said, -2)
    truth[:90, 1] = torch.randint(-1, 2, (90,), generator=random)
    units = torch.arange(240) // 3
    (found,) = Agreement.of(truth, said, units=units, attributes=[SKIN, AGE])
    words, labelled = said[::3, 1].tolist(), [unit < 30 for unit in range(80)]
    table = [
        [
            sum(w == word and of == it for w, of in zip(words, labelled, strict=True))
            for word in (-1, 0, 1)
        ]
        for it in (False, True)
    ]
    assert found.p_even == pytest.approx(chi2_contingency(table).pvalue)
    assert found.classes == ("young", "old", "none")
    assert found.as_json()["images"] == int(found.counts.sum()) == 90
    header, _, *rows, last = found.lines()
    assert header == ["age, truly (said:)", "young", "old", "none"]
    assert rows[1] == ["old", *map(str, found.counts[1].tolist())]
    right = int(found.counts.diagonal().sum())
    assert last[0] == "said rightly, % of 90"
    assert last[1].startswith(f"{100 * right / 90:.1f} [")
    assert len(last) == 4
