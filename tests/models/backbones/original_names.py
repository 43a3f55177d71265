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


def evolve_ir(
    layers: Sequence[int],
    *,
    width: int = 64,
    dim: int = 512,
    size: int = 112,
    squeeze_excitation: bool = False,
) -> Shapes:
    """Return those of the older IR and IR-SE, of face.evoLVe and FaceX-Zoo: five parts a block."""
    six = ir(layers, width=width, dim=dim, size=size, squeeze_excitation=squeeze_excitation)
    moved = {"0": "0", "1": "1", "3": "2", "4": "3", "5": "4", "se_block": "5"}
    shapes: Shapes = {}
    for name, shape in six.items():
        block, res_layer, rest = name.partition(".res_layer.")
        part, _, leaf = rest.partition(".")
        if not res_layer:
            shapes[name] = shape
        elif part in moved:
            shapes[f"{block}.res_layer.{moved[part]}.{leaf}"] = shape
    return shapes | norm("output_layer.4", dim)


def bottleneck_ir(*, width: int = 16, dim: int = 24, size: int = 32) -> Shapes:
    """Return those of TFace's IR-152 with one block in each stage: nine parts a block."""
    shapes: Shapes = {"input_layer.0.weight": (width, 3, 3, 3), **norm("input_layer.1", width)}
    shapes |= {"input_layer.2.weight": (width,)}
    inputs = width
    for number in range(4):
        outputs, at = width * 2 ** (number + 2), f"body.{number}"
        shapes |= {f"{at}.shortcut_layer.0.weight": (outputs, inputs, 1, 1)}
        shapes |= norm(f"{at}.shortcut_layer.1", outputs)
        narrow, parts = outputs // 4, f"{at}.res_layer"
        shapes |= {**norm(f"{parts}.0", inputs), f"{parts}.1.weight": (narrow, inputs, 1, 1)}
        shapes |= {**norm(f"{parts}.2", narrow), f"{parts}.3.weight": (narrow,)}
        shapes |= {f"{parts}.4.weight": (narrow, narrow, 3, 3), **norm(f"{parts}.5", narrow)}
        shapes |= {f"{parts}.6.weight": (narrow,), f"{parts}.7.weight": (outputs, narrow, 1, 1)}
        shapes |= norm(f"{parts}.8", outputs)
        inputs = outputs
    shapes |= norm("output_layer.0", inputs)
    shapes |= {"output_layer.3.weight": (dim, inputs * (size // 16) ** 2)}
    return shapes | {"output_layer.3.bias": (dim,), **norm("output_layer.4", dim, affine=False)}


def narrow_mobilefacenet(*, dim: int = 24) -> Shapes:
    """Return some of InsightFace_Pytorch's MobileFaceNet, half as wide as arcface_torch's."""
    shapes: Shapes = {}
    for name, shape in (("conv1", (64, 3, 3, 3)), ("conv2_dw", (64, 1, 3, 3))):
        shapes |= {f"{name}.conv.weight": shape, **norm(f"{name}.bn", 64)}
        shapes |= {f"{name}.prelu.weight": (64,)}
    shapes |= {"conv_6_sep.conv.weight": (512, 128, 1, 1), **norm("conv_6_sep.bn", 512)}
    return shapes | {"linear.weight": (dim, 512), **norm("bn", dim)}


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
