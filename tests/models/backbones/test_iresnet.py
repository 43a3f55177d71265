"""IResNet: what it promises of images and embeddings, in all its variants."""

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from qdgs_lightning.models.backbones.base import BackboneError
from qdgs_lightning.models.backbones.iresnet import IResNet
from tests.models.backbones.filled import pictures

VARIANTS = list(product(("conv", "pool"), ("frozen_weight", "none"), (False, True)))


def small(**options: object) -> IResNet:
    """Build one of 4 blocks for pictures of 32 pixels, the same each time."""
    torch.manual_seed(0)
    defaults = {"layers": (1, 1, 1, 1), "width": 16, "embedding_dim": 24, "image_size": 32}
    return IResNet(**(defaults | options))  # type: ignore[arg-type]


def images(size: int = 32) -> Tensor:
    return torch.from_numpy(pictures(size))


@pytest.mark.parametrize(("shortcut", "affine", "se"), VARIANTS)
def test_all_variants_embed_and_learn(shortcut: str, affine: str, se: bool) -> None:
    net = small(stage1_shortcut=shortcut, final_affine=affine, squeeze_excitation=se)
    embeddings = net(images())
    assert embeddings.shape == (2, 24)
    assert embeddings.dtype == torch.float32
    (embeddings * torch.randn(24)).sum().backward()
    for name, parameter in net.named_parameters():
        if name == "features.weight":
            assert not parameter.requires_grad
            assert parameter.tolist() == [1.0] * 24
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all()
    assert ("features.bias" in dict(net.named_parameters())) == (affine == "frozen_weight")
    assert ("layer1.0.downsample.0.weight" in net.state_dict()) == (shortcut == "conv")
    assert ("layer1.0.se.fc1.weight" in net.state_dict()) == se


@pytest.mark.parametrize("size", [16, 64, 112])
def test_sizes_of_images(size: int) -> None:
    net = small(image_size=size).eval()
    assert net.fc.in_features == 128 * (size // 16) ** 2
    assert net(images(size)).shape == (2, 24)


def test_images_are_brought_to_minus_one_and_one() -> None:
    net = small().eval()
    seen = []
    net.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net(torch.stack([torch.zeros(3, 32, 32), torch.ones(3, 32, 32)]))
    assert [image.unique().tolist() for image in seen[0]] == [[-1.0], [1.0]]


def test_the_pooling_shortcut_is_max_pooling_over_one_pixel() -> None:
    net = small(stage1_shortcut="pool").eval()
    names = ("bn1", "conv1", "bn2", "prelu", "conv2", "bn3")
    residual = nn.Sequential(*(net.get_submodule(f"layer1.0.{name}") for name in names))
    x = torch.randn(2, 16, 32, 32)
    with torch.no_grad():
        expected = residual(x) + nn.MaxPool2d(1, 2)(x)
        torch.testing.assert_close(net.layer1(x), expected)


def test_dropout_acts_on_the_dense_layer_s_input_in_training_only() -> None:
    net = small(dropout=0.5, image_size=64)
    seen = []
    net.fc.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net(images(64))
    net.eval()(images(64))
    dropped, kept = ((x == 0).float().mean().item() for x in seen)
    assert dropped == pytest.approx(0.5, abs=0.05)
    assert kept < 0.01


@pytest.mark.parametrize(
    ("initialization", "expected"), [("normal", 0.1), ("kaiming", (2 / (9 * 128)) ** 0.5)]
)
def test_initial_weights_have_the_deviation_of_the_originals(
    initialization: str, expected: float
) -> None:
    net = small(initialization=initialization)
    weight = net.get_parameter("layer4.0.conv2.weight")
    assert weight.std().item() == pytest.approx(expected, rel=0.02)


def test_channels_last_gives_the_same_embeddings() -> None:
    net = small().eval()
    with torch.no_grad():
        expected = net(images())
        net.to(memory_format=torch.channels_last)
        found = net(images().contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_last_layers_are_in_float32_under_autocast() -> None:
    net = small()
    seen: list[torch.dtype] = []
    for module in (net.conv1, net.fc, net.features):
        module.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = net(images())
    assert seen == [torch.bfloat16, torch.float32, torch.float32]
    assert embeddings.dtype == torch.float32
    with torch.no_grad():
        expected = net(images())
    assert torch.cosine_similarity(embeddings, expected).min() > 0.95
    seen.clear()
    assert net.bfloat16()(images().bfloat16()).dtype == torch.bfloat16  # as Lightning's bf16-true


def test_it_compiles_whole() -> None:
    net = small(squeeze_excitation=True, stage1_shortcut="pool").eval()
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(compiled(images()), net(images()))


def test_it_can_be_exported() -> None:
    net = small().eval()
    batch = {0: torch.export.Dim("n", min=1, max=64)}
    exported = torch.export.export(net, (images(),), dynamic_shapes=(batch,))
    three = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(exported.module()(three), net(three))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 100}, "give a multiple of 16"),
        ({"image_size": 0}, "give a multiple of 16"),
        ({"layers": (1, 1, 1)}, "give four positive numbers"),
        ({"layers": (1, 0, 1, 1)}, "give four positive numbers"),
        ({"width": 0}, "a positive number of channels"),
        ({"dropout": 1.0}, "give a share from 0 to below 1"),
        ({"embedding_dim": 0}, "both should be positive"),
        ({"stage1_shortcut": "max"}, "stage1_shortcut is 'max'; give conv or pool"),
        ({"final_affine": "yes"}, "give frozen_weight, trained or none"),
        ({"initialization": "zero"}, "give normal or kaiming"),
    ],
)
def test_options_that_do_not_exist(options: dict[str, object], message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        small(**options)


def test_images_that_it_does_not_take() -> None:
    net = small()
    for shape in ((2, 3, 112, 112), (2, 1, 32, 32), (3, 32, 32), (2, 32, 32, 3)):
        with pytest.raises(BackboneError, match=r"takes \[n, 3, 32, 32\]"):
            net(torch.zeros(shape))
    with pytest.raises(BackboneError, match=r"torch.uint8 .* divide by 255"):
        net(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
