"""Latent axes leave what they wrap as it is, and measure the latent exactly."""

import torch
from torch import Tensor
from torch.autograd.functional import jacobian

from qdgs_lightning.guidance import Evaluation, Guidance, LatentAxes
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


def test_seeds_draw_other_directions() -> None:
    first, again, other = (
        LatentAxes(ToyGuidance(), axes=2, seed=seed).directions(6) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert (first.T @ other).abs().max() < 0.99


class CountingGuidance(ToyGuidance):
    """Counts how often gradients come back to the images that it judges."""

    backward = 0

    def forward(self, images: Tensor, latents: Tensor) -> Evaluation:
        """Judge, and count from then on."""
        images.register_hook(self._count)  # type: ignore[no-untyped-call]
        return super().forward(images, latents)

    def _count(self, gradient: Tensor) -> None:
        self.backward += 1


def test_axes_cost_no_backward_pass_through_images_and_gradients_are_exact() -> None:
    generator = ToyGenerator((2, 3))
    plain, inner = CountingGuidance(), CountingGuidance()
    latents = generator.sample_latents(4, torch.Generator().manual_seed(2))
    evaluate(generator, plain, latents, jacobian=True)

    def with_axes(guidance: Guidance) -> Guidance:
        return LatentAxes(LatentAxes(guidance, axes=2, seed=3), axes=3)

    found = evaluate(generator, with_axes(inner), latents, jacobian=True).jacobian
    assert inner.backward == plain.backward > 0
    assert found is not None

    guidance = with_axes(ToyGuidance())

    def values(latent: Tensor) -> Tensor:
        judged = guidance(generator(latent[None]), latent[None])
        return torch.cat([judged.objective, judged.measures[0]])

    exact = torch.stack([jacobian(values, latent) for latent in latents])  # type: ignore[no-untyped-call]
    torch.testing.assert_close(found, exact.flatten(2))


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
