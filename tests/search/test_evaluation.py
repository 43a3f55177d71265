"""`evaluate` against torch.func, finite differences and itself on two processes."""

import math

import pytest
import torch
from torch import Tensor

from qdgs_lightning.guidance import Evaluation
from qdgs_lightning.search.evaluation import EvaluationError, evaluate
from tests.toys import BrokenGenerator, ToyGenerator, ToyGuidance


def draw(generator: ToyGenerator, n: int, seed: int = 0) -> Tensor:
    return generator.sample_latents(n, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("latent_shape", [(6,), (3, 4)])
@pytest.mark.parametrize("n", [1, 7, 40])
def test_jacobian_is_that_of_torch_func(latent_shape: tuple[int, ...], n: int) -> None:
    generator, guidance = ToyGenerator(latent_shape), ToyGuidance(3)
    latents = draw(generator, n)

    def values(latent: Tensor) -> Tensor:
        objective, measures = guidance(generator(latent[None]), latent[None])
        return torch.cat([objective, measures[0]])

    evaluated = evaluate(generator, guidance, latents, jacobian=True, batch_size=16)
    expected = torch.stack([values(latent) for latent in latents]).detach()
    assert evaluated.jacobian is not None
    assert evaluated.jacobian.shape == (n, 4, math.prod(latent_shape))
    torch.testing.assert_close(evaluated.objective, expected[:, 0])
    torch.testing.assert_close(evaluated.measures, expected[:, 1:])
    exact = torch.func.vmap(torch.func.jacrev(values))(latents).flatten(2)
    torch.testing.assert_close(evaluated.jacobian, exact)


def test_jacobian_predicts_small_steps() -> None:
    generator, guidance = ToyGenerator(), ToyGuidance()
    latents = draw(generator, 5)
    step = 1e-2 * draw(generator, 5, seed=1)
    here = evaluate(generator, guidance, latents, jacobian=True)
    there = evaluate(generator, guidance, latents + step)
    assert here.jacobian is not None
    predicted = (here.jacobian @ step[:, :, None])[:, :, 0]
    reached = torch.cat([there.objective[:, None], there.measures], dim=1)
    known = torch.cat([here.objective[:, None], here.measures], dim=1)
    torch.testing.assert_close(reached - known, predicted, atol=2e-4, rtol=0.05)


def test_without_jacobian_the_values_are_the_same() -> None:
    generator, guidance = ToyGenerator(), ToyGuidance()
    latents = draw(generator, 9)
    plain, full = (evaluate(generator, guidance, latents, jacobian=j) for j in (False, True))
    assert plain.jacobian is None
    assert torch.equal(plain.objective, full.objective)
    assert torch.equal(plain.measures, full.measures)


def test_progress_counts_rows_and_no_rows_is_no_error() -> None:
    generator, guidance = ToyGenerator(), ToyGuidance()
    done: list[int] = []
    evaluate(generator, guidance, draw(generator, 70), batch_size=32, progress=done.append)
    assert done == [32, 64, 70]
    empty = evaluate(generator, guidance, draw(generator, 0), jacobian=True)
    assert empty.measures.shape == (0, 2)


def test_a_single_pixel_that_nobody_looks_at_is_found() -> None:
    class Speckled(ToyGenerator):
        """One blue pixel of the third image is NaN."""

        def forward(self, latents: Tensor) -> Tensor:
            images = super().forward(latents).clone()
            images[2, 2, 1, 0] = torch.nan
            return images

    latents = torch.zeros(4, 6)
    with pytest.raises(EvaluationError, match=r"Speckled returned an image .* 1 of 4 latents"):
        evaluate(Speckled(), ToyGuidance(measures=1), latents)


def test_nan_from_a_generator_names_it() -> None:
    generator = BrokenGenerator()
    latents = draw(generator, 20)
    bad = int((latents[:, 0] > 0).sum())
    with pytest.raises(EvaluationError, match=f"BrokenGenerator .* for {bad} of 20 latents"):
        evaluate(generator, ToyGuidance(), latents)


class NaNGuidance(ToyGuidance):
    """The square root of zero: a finite value with an infinite gradient."""

    def forward(self, images: Tensor, latents: Tensor) -> Evaluation:
        """Spoil what a sound guidance says."""
        objective, measures = super().forward(images, latents)
        return Evaluation((objective - objective.detach()).sqrt(), measures)


def test_infinite_gradient_names_the_guidance() -> None:
    generator = ToyGenerator()
    evaluate(generator, NaNGuidance(), draw(generator, 3))
    with pytest.raises(EvaluationError, match="NaNGuidance"):
        evaluate(generator, NaNGuidance(), draw(generator, 3), jacobian=True)


class DetachedGuidance(ToyGuidance):
    """Guidance that cannot be differentiated."""

    def forward(self, images: Tensor, latents: Tensor) -> Evaluation:
        """Spoil what a sound guidance says."""
        return super().forward(images.detach(), latents.detach())


class MisshapenGuidance(ToyGuidance):
    """Guidance that returns one column less than it has names."""

    def forward(self, images: Tensor, latents: Tensor) -> Evaluation:
        """Spoil what a sound guidance says."""
        objective, measures = super().forward(images, latents)
        return Evaluation(objective, measures[:, 1:])


def test_no_gradient_wrong_shapes_and_foreign_latents_are_refused() -> None:
    generator = ToyGenerator()
    with pytest.raises(EvaluationError, match="no gradient"):
        evaluate(generator, DetachedGuidance(), draw(generator, 3), jacobian=True)
    with pytest.raises(EvaluationError, match=r"measures of shape \(3, 1\)"):
        evaluate(generator, MisshapenGuidance(), draw(generator, 3))
    with pytest.raises(EvaluationError, match="do not fit ToyGenerator"):
        evaluate(generator, ToyGuidance(), torch.zeros(3, 5))
