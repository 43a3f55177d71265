"""Which class is taken for which."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from torch import Tensor


def confusion_matrices(matrices: Mapping[str, tuple[Sequence[str], Tensor]]) -> Figure:
    """Draw confusion matrices side by side.

    Args:
        matrices: For each question its answers and the counts, shape ``[answers, answers]``, rows
            being the truth and columns what was said.

    Returns:
        A figure that shows counts in the cells and shares of each row as shades.
    """
    figure = Figure(figsize=(4.2 * len(matrices), 3.8), layout="constrained")
    panels = figure.subplots(1, len(matrices), squeeze=False)[0]
    for axes, (title, (answers, counts)) in zip(panels, matrices.items(), strict=True):
        counts = counts.cpu()  # from wherever a metric counted
        shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
        axes.imshow(shares.numpy(), vmin=0, vmax=1, cmap="cividis")
        for row in range(len(answers)):
            for column in range(len(answers)):
                shade = "black" if shares[row, column] > 0.5 else "white"
                label = str(int(counts[row, column]))
                axes.text(column, row, label, ha="center", va="center", color=shade)
        axes.set_xticks(range(len(answers)), answers)
        axes.set_yticks(range(len(answers)), answers)
        axes.set(title=title, xlabel="said", ylabel="true")
    return figure
