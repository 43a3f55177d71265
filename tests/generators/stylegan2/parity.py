"""Small networks with random weights, and what NVIDIA's implementation makes of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qdgs_lightning.generators.stylegan2 import StyleGAN2

FOLDER = Path(__file__).parents[2] / "data" / "stylegan2"
NAMES = sorted(path.stem for path in FOLDER.glob("*.npz"))


class Parity:
    """One network and its reference results, from one file of tests/data/stylegan2.

    Attributes:
        config: Arguments of `StyleGAN2`.
        num_ws: How many styles it takes.
        weights: Under their official names.
        arrays: Inputs and results.
        labels: Where the network takes any.
    """

    def __init__(self, name: str) -> None:
        with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
            self.config: dict[str, Any] = json.loads(bytes(file["config"]))
            tensors = {key: torch.from_numpy(file[key]) for key in file.files if key != "config"}
        self.num_ws: int = self.config.pop("num_ws")
        self.arrays: dict[str, Tensor] = {}
        self.weights: dict[str, Tensor] = {}
        for key, tensor in tensors.items():
            of_network = key.startswith("sd/")
            (self.weights if of_network else self.arrays)[key.removeprefix("sd/")] = tensor.float()
        self.labels = self.arrays.get("c")

    def network(self, **synthesis_kwargs: object) -> StyleGAN2:
        """Build the network, perhaps with other arguments of its synthesis."""
        synthesis = {**self.config["synthesis_kwargs"], **synthesis_kwargs}
        network = StyleGAN2(**{**self.config, "synthesis_kwargs": synthesis})
        network.load_state_dict(self.weights)
        return network.eval().requires_grad_(False)
