"""Run the networks of others with weights by formula, for tests/models/test_backbone_weights.py.

None of the repositories is part of this one; whoever runs this brings checkouts of them:

    git clone https://github.com/deepinsight/insightface
    git clone https://github.com/mk-minchul/AdaFace
    git clone https://github.com/mk-minchul/CVLface
    python -m tests.peers.make_backbone_numbers insightface AdaFace CVLface
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import torch
from tests.models.backbones.filled import filled_state, fingerprint, pictures
from torch import Tensor, nn

TARGET = Path(__file__).parents[1] / "data" / "backbones" / "by_originals.json"


def names_of(path: Path) -> dict[str, Any]:
    """Run a file of theirs, without a counter of operations that it imports and does not need."""
    text = re.sub(r"^from fvcore.*$", "", path.read_text(), flags=re.M)
    names: dict[str, Any] = {"__name__": path.stem}
    exec(text, names)
    return names


def measured(network: nn.Module, images: Tensor) -> dict[str, object]:
    """Say what a network consists of, and what it makes of images."""
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    state = {name: torch.from_numpy(value) for name, value in filled_state(shapes).items()}
    network.load_state_dict(state, strict=False)
    with torch.no_grad():
        embeddings = network.eval()(images)
    if isinstance(embeddings, tuple):  # AdaFace: of length 1, and how long they were
        embeddings = embeddings[0] * embeddings[1]
    return {
        "fingerprint": fingerprint(shapes),
        "num_weights": len(shapes),
        "num_parameters": sum(parameter.numel() for parameter in network.parameters()),
        "embeddings": embeddings[:, :16].tolist(),
        "norms": embeddings.norm(dim=1).tolist(),
    }


def main() -> None:
    """Write what all networks make of the pictures."""
    insightface, adaface, cvlface = (Path(argument) for argument in sys.argv[1:4])
    rgb = 2 * torch.from_numpy(pictures()) - 1
    bgr = rgb.flip(1)
    found = {}
    arcface_torch = insightface / "recognition/arcface_torch/backbones"
    for number in (18, 34, 50, 100):
        network = names_of(arcface_torch / "iresnet.py")[f"iresnet{number}"]()
        found[f"iresnet{number}"] = measured(network, rgb)
    network = names_of(arcface_torch / "mobilefacenet.py")["get_mbf"](fp16=False, num_features=512)
    found["mobilefacenet"] = measured(network, rgb)
    for name in ("ir_18", "ir_50", "ir_101", "ir_se_50"):
        network = names_of(adaface / "net.py")["build_model"](name)
        found[f"adaface {name}"] = measured(network, bgr)
    folder = cvlface / "cvlface/research/recognition/code/run_v1/models"
    network = names_of(folder / "iresnet/model.py")["IR_18"](input_size=(112, 112))
    found["cvlface ir_18"] = measured(network, rgb)
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
