"""The network against NVIDIA's results, closed forms, and its own half precision."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.signal import convolve2d
from torch import Tensor

from qdgs_lightning.generators.stylegan2 import StyleGAN2, StyleGAN2Error
from qdgs_lightning.generators.stylegan2.layers import (
    ModulatedConv,
    Skip,
    resample_filter,
    upsample,
)
from tests.generators.stylegan2.parity import NAMES, Parity


@pytest.fixture(params=NAMES)
def parity(request: pytest.FixtureRequest) -> Parity:
    """Each of the five networks."""
    return Parity(request.param)


def assert_gradients_agree(ours: Tensor, theirs: Tensor) -> None:
    """Allow for single activations near zero, whose sign may differ between implementations."""
    close = (ours - theirs).abs() <= 1e-4 * theirs.abs().max()
    assert close.float().mean() >= 0.99
    assert (ours - theirs).norm() < 1e-3 * theirs.norm()


def test_all_five_networks_are_there() -> None:
    assert len(NAMES) == 5


@pytest.mark.parametrize(
    ("name", "psi", "cutoff"),
    [("psi1", 1, None), ("psi0.7", 0.7, None), ("psi0.7_cutoff3", 0.7, 3)],
)
def test_mapping(parity: Parity, name: str, psi: float, cutoff: int | None) -> None:
    ws = parity.network().mapping(parity.arrays["z"], parity.labels, psi, cutoff)
    assert ws.shape[1] == parity.num_ws
    torch.testing.assert_close(ws, parity.arrays[f"ws_{name}"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("ws", "image", "noise_mode"),
    [
        ("ws_psi0.7", "img_const", "const"),
        ("ws_psi0.7", "img_none", "none"),
        ("ws_mix", "img_mix_const", "const"),
    ],
)
def test_images(parity: Parity, ws: str, image: str, noise_mode: str) -> None:
    expected = parity.arrays[image]
    images = parity.network().synthesis(parity.arrays[ws][: len(expected)], noise_mode)
    torch.testing.assert_close(images, expected, atol=1e-4, rtol=0)


def test_images_under_a_clamp_that_bites(parity: Parity) -> None:
    images = parity.network(conv_clamp=1.0).synthesis(parity.arrays["ws_mix"])
    torch.testing.assert_close(images, parity.arrays["img_mix_const_clamp1"], atol=1e-4, rtol=0)


def test_gradient_by_styles(parity: Parity) -> None:
    ws = parity.arrays["ws_mix"].clone().requires_grad_()
    image = parity.network().synthesis(ws)
    (gradient,) = torch.autograd.grad((image * parity.arrays["grad_R"]).sum(), ws)
    assert_gradients_agree(gradient, parity.arrays["grad_ws_mix"])


def test_gradient_by_latents(parity: Parity) -> None:
    network, z = parity.network(), parity.arrays["z"][:1].clone().requires_grad_()
    labels = None if parity.labels is None else parity.labels[:1]
    image = network.synthesis(network.mapping(z, labels, 0.7))
    (gradient,) = torch.autograd.grad((image * parity.arrays["grad_R"]).sum(), z)
    assert_gradients_agree(gradient, parity.arrays["grad_z"])


@pytest.mark.parametrize(("dtype", "bits"), [(torch.float16, 10), (torch.bfloat16, 7)])
def test_half_precision_is_as_exact_as_its_bits(
    parity: Parity, dtype: torch.dtype, bits: int
) -> None:
    expected = parity.arrays["img_const"]
    ws = parity.arrays["ws_psi0.7"][: len(expected)]
    images = parity.network().synthesis(ws, dtype=dtype)
    assert images.dtype == torch.float32
    # Some ten roundings follow each other; errors of single pixels are several times the mean.
    assert (images - expected).abs().mean() < 6 * 2.0 ** -(bits + 1) * expected.std()
    assert (images - expected).abs().max() < 60 * 2.0 ** -(bits + 1) * expected.std()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_finite_where_activations_meet_the_clamp(dtype: torch.dtype) -> None:
    parity = Parity("sg2_res64")
    network = parity.network(conv_clamp=256)
    for name, parameter in network.named_parameters():
        if name.endswith("conv1.bias"):  # beyond the largest float16, 65,504
            parameter.mul_(1e6)
        if name.endswith("conv0.weight"):
            parameter.mul_(1e4)
    ws = 100 * parity.arrays["ws_mix"]
    exact, half = network.synthesis(ws), network.synthesis(ws, dtype=dtype)
    assert exact.abs().max() > 256  # images of several resolutions, each at the clamp
    assert half.isfinite().all()
    assert (half - exact).abs().mean() < 0.1 * exact.std()


def test_random_noise_comes_from_the_generator_and_differs_between_images() -> None:
    parity = Parity("sg2_res32_orig")
    network, ws = parity.network(), parity.arrays["ws_mix"].repeat(2, 1, 1)

    def draw(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        images: Tensor = network.synthesis(ws, "random", generator=generator)
        return images

    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))
    assert not torch.equal(draw(0)[0], draw(0)[1])


def test_random_noise_has_the_strength_of_the_stored_one() -> None:
    parity = Parity("sg2_res32_orig")
    network, ws = parity.network(), parity.arrays["ws_mix"].repeat(64, 1, 1)
    without = network.synthesis(ws[:1], "none")
    random = network.synthesis(ws, "random", generator=torch.Generator().manual_seed(0))
    stored = network.synthesis(ws[:1]) - without
    assert (random - without).std() == pytest.approx(float(stored.std()), rel=0.1)


def test_upsampling_is_bilinear_with_black_beyond_the_edge() -> None:
    images = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    padded = F.interpolate(F.pad(images, (1, 1, 1, 1)), scale_factor=2.0, mode="bilinear")
    torch.testing.assert_close(upsample(images, resample_filter()), padded[:, :, 2:-2, 2:-2])


def convolved(image: Tensor, *kernels: Tensor) -> Tensor:
    """Put zeros between the pixels of ``[h, w]``, and convolve by every kernel without an end."""
    wide = np.zeros((2 * len(image) - 1, 2 * image.shape[1] - 1))
    wide[::2, ::2] = image
    for kernel in kernels:
        wide = convolve2d(wide, kernel.double().numpy())
    return torch.from_numpy(wide)


def lopsided_filter() -> Tensor:
    """Return a filter that no turn or mirror leaves as it is, sum 1."""
    taps = torch.rand(4, 4, generator=torch.Generator().manual_seed(1))
    return taps / taps.sum()


def test_upsampling_convolves_by_a_filter_and_does_not_correlate() -> None:
    images = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0)).double()
    fir = lopsided_filter()
    found = upsample(images, fir)
    skip = Skip(3, 1).double()
    skip.resample_filter.copy_(fir)
    skipped = skip(images, gain=0.5)
    weights = skip.weight[0, :, 0, 0].detach() * 0.5 / math.sqrt(3)
    for n in range(2):
        single = torch.stack([convolved(x, 4 * fir)[1:-1, 1:-1] for x in images[n]])
        torch.testing.assert_close(found[n], single)
        torch.testing.assert_close(skipped[n, 0], (weights[:, None, None] * single).sum(0))


def test_layers_that_double_the_size_convolve_by_both_filters() -> None:
    layer = ModulatedConv(2, 3, w_dim=4, resolution=12, up=True).double()
    fir = lopsided_filter()
    layer.resample_filter.copy_(fir)
    random = torch.Generator().manual_seed(0)
    x = torch.randn(1, 2, 6, 6, generator=random).double()
    w = torch.randn(1, 4, generator=random).double()
    style, weight = layer.affine(w)[0].detach(), layer.weight.detach()
    modulated = weight * style[:, None, None]
    modulated = modulated / modulated.square().sum((1, 2, 3), keepdim=True).add(1e-8).sqrt()
    wide = [
        sum(convolved(x[0, i], modulated[o, i], 4 * fir)[2:-2, 2:-2] for i in range(2))
        for o in range(3)
    ]
    expected = F.leaky_relu(torch.stack(wide), 0.2) * math.sqrt(2)  # type: ignore[arg-type]
    torch.testing.assert_close(layer(x, w, noise_mode="none")[0], expected, rtol=1e-5, atol=1e-6)


def test_the_ffhq_network_has_its_known_size() -> None:
    with torch.device("meta"):
        network = StyleGAN2(
            z_dim=512,
            c_dim=0,
            w_dim=512,
            img_resolution=256,
            img_channels=3,
            synthesis_kwargs={"channel_base": 16384, "conv_clamp": 256},
        )
    assert len(network.state_dict()) == 144
    assert sum(math.prod(p.shape) for p in network.mapping.parameters()) == 2_101_248
    assert sum(math.prod(p.shape) for p in network.synthesis.parameters()) == 22_666_210
    assert sum(math.prod(b.shape) for b in network.buffers()) == 175_568


def test_any_widths() -> None:
    widths = {"channels": (12, 8, 6, 4)}
    network = StyleGAN2(
        z_dim=4, c_dim=0, w_dim=5, img_resolution=32, img_channels=1, synthesis_kwargs=widths
    )
    images = network.synthesis(network.mapping(torch.randn(2, 4)))
    assert images.shape == (2, 1, 32, 32)


def test_compiles_without_a_graph_break() -> None:
    parity = Parity("sg2_res32_resnet")
    network, ws = parity.network(), parity.arrays["ws_mix"]
    compiled = torch.compile(network.synthesis, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(ws), network.synthesis(ws))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"img_resolution": 48}, "img_resolution is 48; give a power of two"),
        ({"synthesis_kwargs": {"architecture": "skp"}}, "architecture is 'skp'; give one of skip"),
        ({"synthesis_kwargs": {"channels": (8, 8)}}, "do not fit resolutions"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(arguments: dict[str, object], message: str) -> None:
    sizes = {"z_dim": 4, "c_dim": 0, "w_dim": 4, "img_resolution": 16, "img_channels": 3}
    with pytest.raises(StyleGAN2Error, match=message):
        StyleGAN2(**{**sizes, **arguments})  # type: ignore[arg-type]


def test_inputs_that_do_not_fit_are_refused() -> None:
    conditional = Parity("sg2_res32_cond")
    network, z = conditional.network(), conditional.arrays["z"]
    with pytest.raises(StyleGAN2Error, match=r"labels of shape \[2, 5\], but none were given"):
        network.mapping(z)
    with pytest.raises(StyleGAN2Error, match=r"they have shape \(2, 4\)"):
        network.mapping(z, torch.zeros(2, 4))
    with pytest.raises(StyleGAN2Error, match=r"z has shape \(2, 7\)"):
        network.mapping(torch.zeros(2, 7), conditional.labels)
    with pytest.raises(StyleGAN2Error, match="truncation_psi is -1"):
        network.mapping(z, conditional.labels, -1)
    with pytest.raises(StyleGAN2Error, match=r"ws has shape \(2, 3, 48\); .* \[n, 8, 48\]"):
        network.synthesis(torch.zeros(2, 3, 48))
    with pytest.raises(StyleGAN2Error, match="noise_mode is 'constant'; give one of const"):
        network.synthesis(conditional.arrays["ws_mix"], "constant")
