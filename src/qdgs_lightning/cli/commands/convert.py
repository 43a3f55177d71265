"""``qdgs convert``: a StyleGAN2 checkpoint as a file that is safe and fast to load."""

from pathlib import Path
from typing import Literal

from qdgs_lightning.generators.stylegan2 import CheckpointError, read_checkpoint, save_stylegan2
from qdgs_lightning.utils.console import say


def convert(
    *, checkpoint: Path, output: Path, which: Literal["G_ema", "G"] = "G_ema", force: bool = False
) -> None:
    """Keep the generator of a StyleGAN2 checkpoint in a safetensors file.

    Nothing in the checkpoint is executed. Afterwards it is not needed any more: name the new file
    as the checkpoint of a StyleGAN2Generator.

    Args:
        checkpoint: A pickle of stylegan2-ada-pytorch or stylegan3, a checkpoint of rosinality or
            BasicSR, or a state_dict of any of these generators.
        output: The new file, ending in .safetensors.
        which: Which network of the file: G_ema, the averaged weights, or G, those of the last step.
        force: Replace the output if it is there already.

    Raises:
        CheckpointError: The checkpoint is missing, corrupt, unsafe or of another kind, or the
            output is there already or cannot be written.
    """
    if output.suffix != ".safetensors":
        raise CheckpointError(f"output is {output}; give a name that ends in .safetensors.")
    if output.exists() and not force:
        raise CheckpointError(
            f"{output} is there already; choose another name, or add --force true."
        )
    found = read_checkpoint(checkpoint, which=which)
    try:
        save_stylegan2(found, output)
    except OSError as error:
        raise CheckpointError(
            f"The network cannot be written to {output} ({error}); free space or choose another "
            "place."
        ) from error
    synthesis, mapping = found.network.synthesis, found.network.mapping
    count = sum(parameter.numel() for parameter in found.network.parameters())
    channels = ", ".join(
        f"{found.network.get_parameter(f'synthesis.b{size}.conv1.bias').numel()}"
        for size in synthesis.resolutions
    )
    lines = [
        f"{checkpoint}: {found.kind}, SHA-256 {found.sha256}",
        f"images of {synthesis.img_resolution} x {synthesis.img_resolution} pixels, {count:,} "
        f"parameters, channels {channels} from 4 pixels up",
        f"latents of {mapping.z_dim} numbers, {mapping.num_ws} styles of {mapping.w_dim}"
        + (f", {mapping.c_dim} classes" if mapping.c_dim else ""),
    ]
    if found.sources:
        lines.append(f"{len(found.sources)} embedded source file(s) ignored, not executed")
    lines.append(f"Written: {output}")
    say(*lines)
