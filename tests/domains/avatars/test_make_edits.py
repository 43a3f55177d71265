"""``qdgs avatars-edits``, read back as a datamodule reads it, and seen in the images."""

from pathlib import Path

import pytest
import torch

from qdgs_lightning.cli.main import main
from qdgs_lightning.domains.avatars.dataset import style_attributes
from qdgs_lightning.generators import StyleGAN2Generator
from qdgs_lightning.identities import FileEdits


def test_edits_change_the_view_and_nothing_else(tmp_path: Path) -> None:
    generator = StyleGAN2Generator(Path("avatars_generator"))
    generator.prepare()
    path = tmp_path / "new" / "edits.safetensors"
    main(["avatars-edits", "--output", str(path), "--number", "3", "--seed", "5"])
    edits = FileEdits(path).rows(generator)
    assert edits.shape == (3, 10, 36)  # layers, and numbers that an avatar depends on
    assert edits.isfinite().all()
    assert not edits[0].any()
    assert edits[1:].any(dim=(1, 2)).all()
    # Skin, age, gender and hair, as they are read out of styles, stay as they are.
    moved = style_attributes(generator.w_std * edits[:, 0])
    assert torch.allclose(moved, torch.zeros(3, 4), atol=1e-5)
    latents = generator.layered(generator.sample_latents(1, torch.Generator().manual_seed(0)))
    images = generator(latents + edits)
    assert (images[1:] - images[:1]).abs().mean(dim=(1, 2, 3)).min() > 0.01


def test_the_seed_names_the_file(tmp_path: Path) -> None:
    made = []
    for number, seed in enumerate((1, 1, 2)):
        path = tmp_path / f"{number}.safetensors"
        main(["avatars-edits", "--output", str(path), "--number", "2", "--seed", str(seed)])
        made.append(path.read_bytes())
    assert made[0] == made[1] != made[2]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--output", "edits.npy"], "output is edits.npy; give a name that ends in .safetensors"),
        (["--output", "edits"], "output is edits; give a name that ends in .safetensors"),
        (["--number", "0"], "number is 0"),
        (["--strength", ".nan"], "strength is nan"),
        (["--generator", "none.safetensors"], "none.safetensors"),
    ],
)
def test_what_cannot_be_made_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=complaint):
        main(["avatars-edits", *words])
    assert not list(tmp_path.iterdir())
