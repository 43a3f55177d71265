"""Latent axes leave what they wrap as it is, and measure the latent exactly."""

import torch

from qdgs_lightning.guidance import LatentAxes
from qdgs_lightning.search import QDSearch, SearchConfig, evaluate
from tests.toys import ToyGenerator, ToyGuidance


def test_measures_are_the_guidance_s_and_coordinates_along_orthonormal_directions() -> None:
    generator, inner = ToyGenerator((2, 3)), ToyGuidance()
    guidance = LatentAxes(inner, axes=4)
    latents = generator.sample_latents(5, torch.Generator().manual_seed(0))
    images = generator(latents)
    judged, plain = guidance(images, latents), inner(images, latents)
    assert guidance.measure_names == (
        "red",
        "green",
        "latent 1",
        "latent 2",
        "latent 3",
        "latent 4",
    )
    assert torch.equal(judged.objective, plain.objective)
    assert torch.equal(judged.measures[:, :2], plain.measures)
    directions = guidance.directions(6)
    torch.testing.assert_close(directions.T @ directions, torch.eye(4))
    torch.testing.assert_close(judged.measures[:, 2:], latents.flatten(1) @ directions)


def test_gradients_along_the_axes_are_the_directions() -> None:
    generator, guidance = ToyGenerator((6,)), LatentAxes(ToyGuidance(), axes=2, seed=3)
    latents = generator.sample_latents(4, torch.Generator().manual_seed(1))
    jacobian = evaluate(generator, guidance, latents, jacobian=True).jacobian
    assert jacobian is not None
    expected = guidance.directions(6).T.expand(4, 2, 6)
    torch.testing.assert_close(jacobian[:, 3:], expected)


def test_archives_say_what_was_measured_and_hold_more_of_the_same() -> None:
    elites = []
    for axes in (0, 3):
        guidance = LatentAxes(ToyGuidance(), axes=axes) if axes else ToyGuidance()
        config = SearchConfig(grid=(4, 4, *(4,) * axes), algorithm="random", calibration=200)
        search = QDSearch(ToyGenerator(), guidance, config)
        search.run(740)
        elites.append(len(search.archive))
        assert search.archive.metadata.guidance.get("latent_axes", 0) == axes
    assert elites[1] > 5 * elites[0]
