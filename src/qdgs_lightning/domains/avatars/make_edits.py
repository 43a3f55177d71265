"""``qdgs avatars-edits``: changes of the view that leave an avatar's identity alone."""

import math
from pathlib import Path

import torch
from safetensors.torch import save_file

from qdgs_lightning.domains.avatars.dataset import view_styles
from qdgs_lightning.domains.avatars.renderer import VIEW
from qdgs_lightning.errors import QDGSError
from qdgs_lightning.generators import StyleGAN2Generator
from qdgs_lightning.utils.atomic_files import replacing
from qdgs_lightning.utils.console import say


def avatars_edits(
    *,
    generator: Path = Path("avatars_generator"),
    output: Path = Path("avatars_edits.safetensors"),
    number: int = 9,
    strength: float = 0.8,
    seed: int = 0,
) -> None:
    """Write changes of latents that turn, light and move an avatar, for `FileEdits`.

    They are to the avatars what the latent augmentations of the QDGS publication are to faces. The
    first is none at all; each of the others moves all of pose, light, expression and backdrop at
    once, by amounts drawn evenly from -strength to strength of their range.

    Args:
        generator: A StyleGAN2 of avatars that ``configs/avatars_generator.yaml`` made, whose styles
            are those of the renderer.
        output: The safetensors file to be made or replaced.
        number: How many changes.
        strength: Largest change, where views range from -1 to 1.
        seed: Draws them.

    Raises:
        QDGSError: The output has another ending, the number is not positive, the strength is not
            finite, or the generator is missing or has other styles.
    """
    if output.suffix != ".safetensors":
        raise QDGSError(f"output is {output}; give a name that ends in .safetensors.")
    if number < 1:
        raise QDGSError(f"number is {number}; give a whole number of at least 1.")
    if not math.isfinite(strength):
        raise QDGSError(f"strength is {strength}; give a finite number.")
    made = StyleGAN2Generator(generator)
    made.prepare()
    directions = view_styles()
    if made.latent_shape != directions.shape[1:]:
        raise QDGSError(
            f"{generator} has latents of shape {list(made.latent_shape)}, and avatars have "
            f"{list(directions.shape[1:])}: give a generator of configs/avatars_generator.yaml."
        )
    random = torch.Generator().manual_seed(seed)
    amounts = strength * (2 * torch.rand(number, len(VIEW), generator=random) - 1)
    amounts[0] = 0
    with replacing(output) as unfinished:
        save_file({"edits": amounts @ directions / made.w_std}, unfinished)
    say(f"{output} holds {number} changes of {len(VIEW)} views.")
