"""Training of the generators: the randomness of their steps, and their losses."""

import copy
from functools import partial
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import ConstantLR
from torch.utils.data import DataLoader

from qdgs_lightning.errors import QDGSError
from qdgs_lightning.generators.implicit import ImplicitArchitecture
from qdgs_lightning.tasks.implicit import ImplicitTraining
from qdgs_lightning.tasks.seeding import step_generator
from qdgs_lightning.tasks.vae import VAETraining
from qdgs_lightning.weights import WeightsError

TASKS = (
    VAETraining,
    partial(ImplicitTraining, optimizer=partial(Adam, lr=0.1), scheduler=ConstantLR),
)


@pytest.mark.parametrize("task", TASKS)
def test_seeds_out_of_range_are_refused(task: partial[object]) -> None:
    for seed in (-1, 2**30):
        with pytest.raises(QDGSError, match=f"seed is {seed}; give a whole number from 0 to"):
            task(seed=seed)
    assert task(seed=2**30 - 1)


def _random(seed: int, rank: int, epoch: int, batch: int) -> torch.Generator:
    trainer = SimpleNamespace(current_epoch=epoch)
    task = SimpleNamespace(device=torch.device("cpu"), global_rank=rank, trainer=trainer)
    return step_generator(cast(LightningModule, task), seed, batch)


def _numbers(seed: int, rank: int, epoch: int, batch: int, *, size: int = 4) -> tuple[float, ...]:
    return tuple(torch.randn(size, generator=_random(seed, rank, epoch, batch)).tolist())


def test_every_seed_rank_epoch_and_batch_has_numbers_of_its_own() -> None:
    places = list(product((0, 1, 9), (0, 1, 2), (0, 1, 4096), (0, 1)))
    drawn = [_numbers(*place) for place in places]
    assert len(set(drawn)) == len(places)
    assert drawn == [_numbers(*place) for place in places]


class _Loss(Callback):
    """Logs what a step returns, from which weights learn."""

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: object, *_: object
    ) -> None:
        """Log it."""
        module.log("returned", cast(dict[str, Tensor], outputs)["loss"])


def _fitted(task: LightningModule, batch: Tensor, folder: Path) -> dict[str, float]:
    """What one step without a change of weights returns, and it and a validation log."""
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        callbacks=[_Loss()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    loader: DataLoader[Tensor] = DataLoader([batch], batch_size=None)  # type: ignore[arg-type]
    trainer.fit(task, loader, loader)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def test_the_autoencoder_s_loss_is_the_evidence_lower_bound(tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = VAETraining(latent_size=3, optimizer=partial(SGD, lr=0.0), seed=5)
    batch = torch.rand(4, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mean, log_variance = task.encoder(batch).chunk(2, dim=1)
        posterior = Normal(mean, (log_variance / 2).exp())
        divergence = kl_divergence(posterior, Normal(0.0, 1.0)).sum(1).mean()
        noise = torch.tensor(_numbers(5, 0, 0, 0, size=12)).view(4, 3)
        drawn = task.generator(posterior.mean + posterior.stddev * noise)
        # A Gaussian of variance one about each pixel, but for its constant.
        likely = -((drawn - batch).square().flatten(1).sum(1)) / 2
        plain = (task.generator(mean) - batch).abs().mean()
    found = _fitted(task, batch, tmp_path)
    bound = float(divergence - likely.mean())
    assert found["train/loss"] == found["returned"] == pytest.approx(bound, rel=1e-5)
    assert found["train/kl"] == pytest.approx(float(divergence), rel=1e-3)
    assert found["val/reconstruction"] == pytest.approx(float(plain), rel=1e-5)


def implicit(**options: object) -> ImplicitTraining:
    """A small task whose weights stay as they are."""
    sizes = ImplicitArchitecture(code_size=4, width=16, image_size=32)
    return ImplicitTraining(
        optimizer=partial(SGD, lr=0.0),
        scheduler=partial(ConstantLR, factor=1.0),
        architecture=sizes,
        **options,  # type: ignore[arg-type]
    )


def test_codes_are_decoded_on_a_quarter_of_the_pixels(tmp_path: Path) -> None:
    """The noise and the phase come from the step's own randomness, in this order."""
    torch.manual_seed(0)
    task = implicit(noise=0.5, flow_repeats=3, seed=3)
    batch = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    random = _random(3, 0, 0, 0)
    encoder = copy.deepcopy(task.encoder)
    with torch.no_grad():
        codes = encoder.train()(batch)
        noise = torch.randn(6, 4, generator=random)
        row, column = torch.randint(2, (2,), generator=random).tolist()
        codes = codes + 0.5 * noise
        error = (task.generator.decoder(codes) - batch)[:, :, row::2, column::2]
        expected = error.abs().mean()
        # Patches of four pixels a side, and three paths from the prior to every code.
        patches = error.reshape(6, 3, 4, 4, 4, 4).mean(dim=(3, 5))
        flow = task.generator.flow.matching_loss(torch.cat([codes] * 3), random)
        # The step has told the encoder mean and variance of its codes.
        plain = task.generator.decoder(encoder.eval()(batch)) - batch
    found = _fitted(task, batch, tmp_path)
    assert found["train/reconstruction"] == pytest.approx(float(expected), rel=1e-4)
    assert found["train/flow"] == pytest.approx(float(flow), rel=1e-4)
    whole = expected + 2 * patches.square().mean() + 0.1 * flow
    assert found["returned"] == pytest.approx(float(whole), rel=1e-4)
    assert found["val/reconstruction"] == pytest.approx(float(plain.abs().mean()), rel=1e-4)


def test_a_fit_of_the_implicit_generator_starts_from_another_s_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    before, path = implicit(), tmp_path / "last.ckpt"
    torch.save({"state_dict": before.state_dict()}, path)
    task = implicit(init_from=path)
    task.setup("test")
    assert not torch.equal(task.generator.decoder.colour.bias, before.generator.decoder.colour.bias)
    task.setup("fit")
    for name, value in before.state_dict().items():
        assert torch.equal(task.state_dict()[name], value), name
    for content in ({"state_dict": {"some": torch.zeros(1)}}, {"weights": 1}):
        torch.save(content, path)
        with pytest.raises(WeightsError, match=r"last\.ckpt is no checkpoint of this task"):
            task.setup("fit")
