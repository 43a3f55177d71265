"""Compute accuracies with the original code of others, for tests/metrics/test_verification.py.

Neither repository is part of this one; whoever runs this brings checkouts of them, and scikit-learn
and SciPy for the first:

    git clone https://github.com/deepinsight/insightface
    git clone https://github.com/JDAI-CV/FaceX-Zoo
    python -m tests.peers.make_verification_numbers insightface FaceX-Zoo
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tests.metrics.verification.pairs import CASES, embedded_pairs

TARGET = Path(__file__).parents[1] / "data" / "verification" / "by_originals.json"


def insightface(checkout: Path) -> dict[str, Any]:
    """Load their evaluation without mxnet, which it needs for images only."""
    text = (checkout / "recognition/arcface_torch/eval/verification.py").read_text()
    text = re.sub(r"^(import mxnet.*|from mxnet .*)$", "", text, flags=re.M)
    names: dict[str, Any] = {}
    exec(text.partition("@torch.no_grad()")[0], names)
    return names


def facexzoo(checkout: Path) -> Any:  # noqa: ANN401 (a class of theirs)
    """Make their evaluator, without a model."""
    names: dict[str, Any] = {}
    exec((checkout / "test_protocol/lfw/lfw_evaluator.py").read_text(), names)
    evaluator = names["LFWEvaluator"]
    return evaluator.__new__(evaluator)  # its __init__ wants a model and images


def main() -> None:
    """Write what both say of all cases."""
    ours, theirs = insightface(Path(sys.argv[1])), facexzoo(Path(sys.argv[2]))
    found = []
    for case in CASES:
        first, second, same = embedded_pairs(case)
        _, _, accuracy = ours["calculate_roc"](np.arange(0, 4, 0.01), first, second, same)
        entry: dict[str, object] = {"insightface": accuracy.tolist()}
        if len(same) == 6000:  # theirs takes no other number
            features = {f"a{i}": x for i, x in enumerate(first)}
            features |= {f"b{i}": x for i, x in enumerate(second)}
            pairs = [(f"a{i}", f"b{i}", int(s)) for i, s in enumerate(same)]
            entry["facexzoo"] = [float(x) for x in theirs.test_one_model(pairs, features)]
        found.append(entry)
    TARGET.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
