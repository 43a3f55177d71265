"""Confusion matrices show the counts that they are given, and shares of each true class."""

import numpy as np
import pytest
import torch

from qdgs_lightning.reporting.figures import confusion_matrices


def test_counts_stand_in_cells_and_shades_are_shares_of_the_truth() -> None:
    counts = torch.tensor([[30, 10, 0], [1, 3, 0], [0, 0, 0]])
    figure = confusion_matrices(
        {"shape": (("triangle", "square", "none"), counts), "age": (("a", "b"), torch.eye(2))}
    )
    first, second = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["shape", "age"]
    assert (first.get_xlabel(), first.get_ylabel()) == ("said", "true")
    for ticks in (first.get_xticklabels(), first.get_yticklabels()):
        assert [tick.get_text() for tick in ticks] == ["triangle", "square", "none"]
    # A column is what was said: texts are placed by (column, row).
    shown = {text.get_position(): text.get_text() for text in first.texts}
    assert shown == {(c, r): str(int(counts[r, c])) for r in range(3) for c in range(3)}
    (image,) = first.images
    shares = np.asarray(image.get_array(), dtype=float)
    np.testing.assert_allclose(shares, np.array([[3, 1, 0], [1, 3, 0], [0, 0, 0]]) / 4)
    assert image.get_clim() == (0, 1)
    assert image.origin == "upper"
    colours = {text.get_position(): text.get_color() for text in first.texts}
    assert [colours[place] for place in ((0, 0), (1, 0), (2, 2))] == ["black", "white", "white"]
    assert [text.get_text() for text in second.texts] == ["1", "0", "0", "1"]


@pytest.mark.parametrize("number", [1, 3])
def test_every_question_has_its_panel(number: int) -> None:
    one = (("yes", "no"), torch.eye(2))
    figure = confusion_matrices({f"question {i}": one for i in range(number)})
    assert len(figure.axes) == number
    assert figure.get_figwidth() == pytest.approx(4.2 * number)
