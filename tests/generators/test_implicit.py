"""The implicit generator against a pixel-by-pixel evaluation and an ODE solver."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from qdgs_lightning.generators import ImplicitArchitecture, ImplicitGenerator
from qdgs_lightning.weights import WeightsError


def _small(seed: int = 0) -> ImplicitGenerator:
    torch.manual_seed(seed)
    sizes = ImplicitArchitecture(code_size=5, half_planes=6, hidden=4, width=16, image_size=32)
    generator = ImplicitGenerator(None, sizes)
    generator.prepare()
    return generator


def test_each_pixel_is_a_two_layer_network_of_its_position() -> None:
    decoder = _small().decoder
    codes = torch.randn(2, 5, generator=torch.Generator().manual_seed(1))
    images = decoder(codes)
    features = decoder.trunk(codes)
    weights = decoder.weights(features)
    for image, row, numbers in zip(images, features, weights, strict=True):
        slope_x, slope_y, offset, mixing, bias, readout, threshold = numbers.split(decoder.sizes)
        for y, x in ((0, 0), (3, 30), (17, 16)):
            position = [8 * (index + 0.5) / 32 - 4 for index in (x, y)]
            planes = (slope_x * position[0] + slope_y * position[1] + offset).relu()
            hidden = (mixing.view(4, 6) @ planes * 2 / 6**0.5 + bias).relu()
            coverage = (2 * readout @ hidden + threshold).sigmoid()
            expected = 1 + coverage * (decoder.colour(row).sigmoid() - 1)
            assert image[:, y, x].tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_part_of_the_pixels_is_part_of_the_image() -> None:
    decoder = _small().decoder
    codes = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    part = decoder(codes, slice(1, None, 2), slice(0, None, 4))
    assert torch.allclose(part, decoder(codes)[:, :, 1::2, 0::4], atol=1e-6)


def test_transport_solves_the_flow_s_equation() -> None:
    flow = _small().flow.double()
    latents = torch.randn(1, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def velocity(time: float, point: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            result: np.ndarray = flow(
                torch.from_numpy(point)[None], torch.tensor([[time]], dtype=torch.float64)
            )[0].numpy()
        return result

    exact = solve_ivp(velocity, (0, 1), latents[0].numpy(), rtol=1e-10, atol=1e-12).y[:, -1]
    with torch.no_grad():
        errors = [
            float(np.abs(flow.transport(latents, steps)[0].numpy() - exact).max())
            for steps in (8, 16)
        ]
    assert errors[1] < 1e-4
    # The midpoint rule is of second order: half the step, a quarter of the error.
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.3)


def test_the_flow_learns_velocities_of_straight_paths() -> None:
    flow = _small().flow
    codes = torch.randn(7, 5, generator=torch.Generator().manual_seed(2)) + 3
    random = torch.Generator().manual_seed(4)
    starts, times = torch.randn(7, 5, generator=random), torch.rand(7, 1, generator=random)
    squares = []
    for start, code, time in zip(starts, codes, times, strict=True):
        point = (1 - time) * start + time * code
        squares.append((flow(point[None], time[None])[0] - (code - start)).square().tolist())
    found = float(flow.matching_loss(codes, torch.Generator().manual_seed(4)))
    assert found == pytest.approx(float(np.mean(squares)), rel=1e-5)


def test_rows_are_independent_and_repeatable() -> None:
    generator = _small()
    latents = generator.sample_latents(4, torch.Generator().manual_seed(0))
    together = generator(latents)
    assert torch.allclose(together[2:3], generator(latents[2:3]), atol=1e-6)
    assert together.shape == (4, 3, 32, 32)
    assert together.min() >= 0
    assert together.max() <= 1


def test_saved_weights_come_back_with_their_sizes(tmp_path: Path) -> None:
    generator = _small()
    path = tmp_path / "weights.safetensors"
    generator.save(path)
    loaded = ImplicitGenerator(str(path))
    loaded.prepare()
    assert loaded.architecture == generator.architecture
    latents = generator.sample_latents(4, torch.Generator().manual_seed(0))
    assert torch.allclose(loaded(latents), generator(latents), atol=0.02)  # stored as float16
    assert loaded.fingerprint() != _small(seed=1).fingerprint()


def test_a_generator_is_known_by_what_its_weights_do_not_show() -> None:
    prints = set()
    for options in ({}, {"flow_steps": 3}, {"image_size": 16}):
        generator = ImplicitGenerator(None, ImplicitArchitecture(**options))
        for parameter in generator.parameters():
            parameter.data.fill_(0.1)
        prints.add(generator.fingerprint())
    assert len(prints) == 3


def test_unknown_weights_are_refused_with_the_names_there_are() -> None:
    with pytest.raises(WeightsError, match="shapes_generator_090"):
        ImplicitGenerator("shapes_generator_111")
