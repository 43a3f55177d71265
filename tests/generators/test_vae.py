"""The published autoencoder's decoder: its latents are normal, its weights say their size."""

from pathlib import Path

import torch

from qdgs_lightning.generators import VAEGenerator


def test_latents_are_standard_normal_and_images_fill_their_range() -> None:
    torch.manual_seed(0)
    generator = VAEGenerator(latent_size=5)
    generator.prepare()
    latents = generator.sample_latents(4000, torch.Generator().manual_seed(7))
    expected = torch.randn(4000, 5, generator=torch.Generator().manual_seed(7))
    assert torch.equal(latents, expected)
    images = generator(latents[:2])
    assert images.shape == (2, 3, 128, 128)
    assert images.min() >= 0
    assert images.max() <= 1
    # Large logits reach both ends.
    for parameter in [*generator.decoder.parameters()][-2:]:
        parameter.data *= 1e4
    extreme = generator(latents[:2])
    assert extreme.min() < 0.01
    assert extreme.max() > 0.99


def test_saved_weights_come_back_with_their_latent_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    generator = VAEGenerator(latent_size=3)
    generator.prepare()
    generator.save(tmp_path / "vae.safetensors")
    loaded = VAEGenerator(str(tmp_path / "vae.safetensors"))
    assert loaded.latent_shape == (3,)
    loaded.prepare()
    latents = loaded.sample_latents(4, torch.Generator().manual_seed(0))
    assert torch.allclose(loaded(latents), generator(latents), atol=0.01)  # stored as float16
    # What is learnt on is not loaded anew.
    first = next(loaded.decoder.parameters())
    first.data.zero_()
    loaded.prepare()
    assert not first.any()
