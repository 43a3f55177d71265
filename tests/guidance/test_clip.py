"""CLIP models: the activation that weights were trained with, and what tells one from another."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import open_clip
import pytest
import torch
from torch import Tensor, nn

from qdgs_lightning.guidance.clip import (
    AVATARS_CLIP,
    SHAPES_CLIP,
    CLIPError,
    clip_fingerprint,
    create_clip,
)

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 32, "width": 16, "heads": 2, "layers": 2},
}


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of ``Tiny``, of its tag ``quick``, whose weights were trained with QuickGELU."""
    models, tags = open_clip.factory._MODEL_CONFIGS, open_clip.pretrained._PRETRAINED
    monkeypatch.setitem(models, "Tiny", TINY)
    monkeypatch.setitem(models, "Tiny-quickgelu", TINY | {"quick_gelu": True})
    path = tmp_path / "weights.pt"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # where open_clip keeps what it downloads
    entry = {"url": path.as_uri(), "quick_gelu": True, "mean": (0.5,) * 3, "std": (0.25,) * 3}
    monkeypatch.setitem(tags, "Tiny", {"quick": entry, "plain": entry | {"quick_gelu": False}})
    monkeypatch.setitem(tags, "Tiny-quickgelu", {"quick": entry})
    torch.save(_varied(create_clip("Tiny", None)).state_dict(), path)
    return path


@pytest.fixture
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def _varied(clip: nn.Module) -> nn.Module:
    """Draw weights so large that activations are not nearly linear."""
    random = torch.Generator().manual_seed(0)
    for parameter in clip.parameters():
        parameter.data = torch.randn(parameter.shape, generator=random)
    return clip


def _embeddings(clip: nn.Module) -> Tensor:
    """Embed two images and two sentences."""
    random = torch.Generator().manual_seed(1)
    images, tokens = torch.rand(2, 3, 16, 16, generator=random), torch.arange(16).view(2, 8)
    with torch.no_grad():
        return torch.cat([clip.encode_image(images), clip.encode_text(tokens)])  # type: ignore[operator]


def _theirs(model: str, path: Path) -> Tensor:
    """Embed with open_clip's own model, filled from a file."""
    clip = open_clip.create_model(model)
    clip.load_state_dict(torch.load(path))
    return _embeddings(clip.eval())


@pytest.mark.usefixtures("_no_warnings")
def test_a_tag_decides_the_activation_whatever_the_name_of_the_model(weights: Path) -> None:
    quick, plain = _theirs("Tiny-quickgelu", weights), _theirs("Tiny", weights)
    assert (quick - plain).abs().max() > 0.01
    assert torch.equal(_embeddings(create_clip("Tiny", "quick")), quick)
    assert torch.equal(_embeddings(create_clip("Tiny", "plain")), plain)
    assert torch.equal(_embeddings(create_clip("Tiny-quickgelu", "quick")), quick)
    # A file of the same weights, under the name that says it.
    assert torch.equal(_embeddings(create_clip("Tiny-quickgelu", str(weights))), quick)


def test_a_file_that_may_want_another_activation_than_its_model_has_warns(weights: Path) -> None:
    with pytest.warns(UserWarning, match="if it is of quick, set `model: Tiny-quickgelu`"):
        clip = create_clip("Tiny", str(weights))
    assert torch.equal(_embeddings(clip), _theirs("Tiny", weights))


@pytest.mark.parametrize("model", ["ViT-B-32", "ViT-L-14-336", "RN50"])
def test_a_name_ending_in_quickgelu_is_what_files_of_openai_need(model: str) -> None:
    for name, wanted in ((model, False), (f"{model}-quickgelu", True)):
        assert open_clip.get_pretrained_cfg(name, "openai")["quick_gelu"]
        assert open_clip.get_model_config(name).get("quick_gelu", False) == wanted


@pytest.mark.usefixtures("_no_warnings")
def test_a_clip_is_known_by_what_it_computes_and_not_by_where_it_lies(
    weights: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.pt"
    other.write_bytes(weights.read_bytes())
    quick = clip_fingerprint(create_clip("Tiny-quickgelu", str(weights)))
    assert quick == clip_fingerprint(create_clip("Tiny-quickgelu", str(other)))
    assert quick == clip_fingerprint(create_clip("Tiny", "quick"))
    assert quick != clip_fingerprint(create_clip("Tiny", "plain"))  # another activation
    open_clip.pretrained._PRETRAINED["Tiny"]["quick"]["mean"] = (0.0,) * 3
    assert quick != clip_fingerprint(create_clip("Tiny", "quick"))  # other normalisation
    state = torch.load(other)
    state["visual.proj"][0, 0] += 1
    torch.save(state, other)
    assert quick != clip_fingerprint(create_clip("Tiny-quickgelu", str(other)))


def test_weights_of_the_package_that_do_not_fit_are_not_told_to_be_fetched() -> None:
    with pytest.raises(CLIPError, match="The weights shapes_clip do not fit avatars_clip"):
        create_clip(AVATARS_CLIP, SHAPES_CLIP)
