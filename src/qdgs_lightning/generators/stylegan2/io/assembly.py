"""Building a network from what a file holds, and what follows from its prior."""

from typing import Any

import torch
from torch import Tensor

from qdgs_lightning.formats.inert_pickle.machine import PickleError
from qdgs_lightning.generators.stylegan2.network import StyleGAN2

_SAMPLES = 500  # latents that are mapped at a time


def assembled(config: dict[str, Any], weights: dict[str, Tensor]) -> StyleGAN2:
    """Build a network and fill it, naming every tensor that does not fit.

    Args:
        config: Arguments of `StyleGAN2`, checked.
        weights: All of its tensors under their names.

    Returns:
        The network in evaluation mode, without gradients for its weights, on the CPU.

    Raises:
        PickleError: Tensors are missing, not known, misshapen or not finite.
    """
    with torch.device("meta"):
        network = StyleGAN2(**config)
    wanted = network.state_dict()
    missing = sorted(wanted.keys() - weights.keys())
    unknown = sorted(weights.keys() - wanted.keys())
    if missing or unknown:
        told = [f"it lacks {_some(missing)}"] if missing else []
        told += [f"it has {_some(unknown)}, which the network has not"] if unknown else []
        raise PickleError(" and ".join(told))
    for name, tensor in weights.items():
        if tensor.shape != wanted[name].shape:
            raise PickleError(
                f"{name} has the shape {tuple(tensor.shape)} instead of {tuple(wanted[name].shape)}"
            )
        check_finite(name, tensor)
    network = network.to_empty(device="cpu")
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)


def check_finite(name: str, tensor: Tensor) -> None:
    """Refuse numbers that no network can have.

    Raises:
        PickleError: They are not finite, or no floating-point numbers.
    """
    if not tensor.is_floating_point() or not tensor.isfinite().all():
        raise PickleError(f"{name} holds numbers that are not finite")


def sampled_styles(network: StyleGAN2, *, n: int = 10_000, seed: int = 0) -> Tensor:
    """Map latents of the prior.

    Args:
        network: Whose styles; labels, where it has any, are drawn evenly.
        n: How many latents.
        seed: Draws them.

    Returns:
        Styles w, float64, shape ``[n, w_dim]``.
    """
    mapping, generator = network.mapping, torch.Generator().manual_seed(seed)
    parts = []
    with torch.no_grad():
        for start in range(0, n, _SAMPLES):
            rows = min(_SAMPLES, n - start)
            z = torch.randn(rows, mapping.z_dim, generator=generator)
            labels = None
            if mapping.c_dim:
                drawn = torch.randint(mapping.c_dim, (rows,), generator=generator)
                labels = torch.nn.functional.one_hot(drawn, mapping.c_dim)
            parts.append(mapping(z, labels)[:, 0].double())
    return torch.cat(parts)


def _some(names: list[str]) -> str:
    """List names, but not hundreds."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
