"""Names and shapes of weights in the networks of others, in their order.

Written from their files, and not by way of ours: tests compare them with what the originals have.
"""

from collections.abc import Sequence

Shapes = dict[str, tuple[int, ...]]


def norm(name: str, channels: int, *, affine: bool = True) -> Shapes:
    """Return the weights of a batch normalisation."""
    parts = ["weight", "bias"] if affine else []
    parts += ["running_mean", "running_var"]
    return {f"{name}.{part}": (channels,) for part in parts} | {f"{name}.num_batches_tracked": ()}


def iresnet(layers: Sequence[int], *, width: int = 64, dim: int = 512, size: int = 112) -> Shapes:
    """Return those of arcface_torch's IResNet."""
    shapes = {"conv1.weight": (width, 3, 3, 3), **norm("bn1", width), "prelu.weight": (width,)}
    inputs = width
    for stage, length in enumerate(layers, start=1):
        outputs = width * 2 ** (stage - 1)
        for block in range(length):
            at = f"layer{stage}.{block}"
            shapes |= norm(f"{at}.bn1", inputs)
            shapes |= {f"{at}.conv1.weight": (outputs, inputs, 3, 3)}
            shapes |= norm(f"{at}.bn2", outputs)
            shapes |= {f"{at}.prelu.weight": (outputs,)}
            shapes |= {f"{at}.conv2.weight": (outputs, outputs, 3, 3)}
            shapes |= norm(f"{at}.bn3", outputs)
            if block == 0:
                shapes |= {f"{at}.downsample.0.weight": (outputs, inputs, 1, 1)}
                shapes |= norm(f"{at}.downsample.1", outputs)
            inputs = outputs
    shapes |= norm("bn2", inputs)
    shapes |= {"fc.weight": (dim, inputs * (size // 16) ** 2), "fc.bias": (dim,)}
    return shapes | norm("features", dim)


def ir(
    layers: Sequence[int],
    *,
    width: int = 64,
    dim: int = 512,
    size: int = 112,
    squeeze_excitation: bool = False,
) -> Shapes:
    """Return those of AdaFace's and CVLface's IR and IR-SE."""
    shapes: Shapes = {"input_layer.0.weight": (width, 3, 3, 3), **norm("input_layer.1", width)}
    shapes |= {"input_layer.2.weight": (width,)}
    last = width * 8
    shapes |= norm("output_layer.0", last)
    shapes |= {
        "output_layer.3.weight": (dim, last * (size // 16) ** 2),
        "output_layer.3.bias": (dim,),
    }
    shapes |= norm("output_layer.4", dim, affine=False)
    inputs, number = width, 0
    for stage, length in enumerate(layers):
        outputs = width * 2**stage
        for _ in range(length):
            at = f"body.{number}"
            if inputs != outputs:
                shapes |= {f"{at}.shortcut_layer.0.weight": (outputs, inputs, 1, 1)}
                shapes |= norm(f"{at}.shortcut_layer.1", outputs)
            shapes |= norm(f"{at}.res_layer.0", inputs)
            shapes |= {f"{at}.res_layer.1.weight": (outputs, inputs, 3, 3)}
            shapes |= norm(f"{at}.res_layer.2", outputs)
            shapes |= {f"{at}.res_layer.3.weight": (outputs,)}
            shapes |= {f"{at}.res_layer.4.weight": (outputs, outputs, 3, 3)}
            shapes |= norm(f"{at}.res_layer.5", outputs)
            if squeeze_excitation:
                hidden = outputs // 16
                shapes |= {f"{at}.res_layer.se_block.fc1.weight": (hidden, outputs, 1, 1)}
                shapes |= {f"{at}.res_layer.se_block.fc2.weight": (outputs, hidden, 1, 1)}
            inputs, number = outputs, number + 1
    return shapes


def mobilefacenet(*, dim: int = 512) -> Shapes:
    """Return those of arcface_torch's mbf."""
    shapes = _unit("layers.0", (128, 3, 3, 3)) | _unit("layers.1", (128, 2, 3, 3))
    shapes |= _depthwise("layers.2", 128, 128, 128)
    for block in range(4):
        shapes |= _depthwise(f"layers.3.layers.{block}", 128, 128, 128)
    shapes |= _depthwise("layers.4", 128, 256, 256)
    for block in range(6):
        shapes |= _depthwise(f"layers.5.layers.{block}", 256, 256, 256)
    shapes |= _depthwise("layers.6", 256, 512, 256)
    for block in range(2):
        shapes |= _depthwise(f"layers.7.layers.{block}", 256, 256, 256)
    shapes |= _unit("conv_sep", (512, 256, 1, 1))
    shapes |= _unit("features.layers.0", (512, 1, 7, 7), activation=False)
    return shapes | {"features.layers.2.weight": (dim, 512)} | norm("features.layers.3", dim)


def _unit(name: str, shape: tuple[int, ...], *, activation: bool = True) -> Shapes:
    shapes = {f"{name}.layers.0.weight": shape, **norm(f"{name}.layers.1", shape[0])}
    return shapes | ({f"{name}.layers.2.weight": (shape[0],)} if activation else {})


def _depthwise(name: str, inputs: int, hidden: int, outputs: int) -> Shapes:
    return {
        **_unit(f"{name}.layers.0", (hidden, inputs, 1, 1)),
        **_unit(f"{name}.layers.1", (hidden, 1, 3, 3)),
        **_unit(f"{name}.layers.2", (outputs, hidden, 1, 1), activation=False),
    }
