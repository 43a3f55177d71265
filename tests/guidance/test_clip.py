"""CLIP models: the activation that weights were trained with, and what tells one from another."""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from qdgs_lightning.guidance.clip import (
    AVATARS_CLIP,
    SHAPES_CLIP,
    CLIPError,
    clip_fingerprint,
    create_clip,
    create_tokenizer,
    image_statistics,
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


@pytest.mark.parametrize("name", ["ViT-B/32", "ViT-L/14@336px", "RN50x4", "ViT-B-32-quickgelu"])
def test_models_by_the_names_that_openai_gives_them(name: str) -> None:
    with pytest.raises(
        CLIPError, match=r"'no_such_tag' is neither a file nor a tag of [\w-]+: give"
    ):
        create_clip(name, "no_such_tag")
    with pytest.raises(CLIPError, match=r"no model 'ViT-B32' .did you mean 'ViT-B-32'"):
        create_clip("ViT-B32", "openai")


def test_a_misspelt_tag_is_answered_with_the_likely_one() -> None:
    with pytest.raises(CLIPError) as caught:
        create_clip("ViT-B/32", "openAI")
    assert str(caught.value) == (
        "'openAI' is neither a file nor a tag of ViT-B-32 (did you mean 'openai'?): give the path "
        "of its weights."
    )


class Scripted(nn.Module):
    """Weights under the names that they have in a model, and the notes of OpenAI beside them."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        notes = {name: torch.tensor(16) for name in ("input_resolution", "context_length")}
        for name, value in (weights | notes).items():
            *path, leaf = name.split(".")
            owner: nn.Module = self
            for part in path:
                if not hasattr(owner, part):
                    owner.add_module(part, nn.Module())
                owner = owner.get_submodule(part)
            owner.register_buffer(leaf, value)

    def forward(self, x: Tensor) -> Tensor:
        """Do something that can be traced."""
        return x


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize("half", [False, True])
def test_archives_of_openai_are_read_without_running_them(
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    half: bool,
) -> None:
    state = torch.load(weights)
    expected = create_clip("Tiny-quickgelu", str(weights))
    if half:
        state = {name: value.half() if value.ndim else value for name, value in state.items()}
    archive = torch.jit.trace(Scripted(state), torch.zeros(1))  # type: ignore[no-untyped-call]
    archive.save(path := tmp_path / "ViT-B-32.pt")
    monkeypatch.setattr(torch.jit, "load", None)  # what would compile the code in it
    clip = create_clip("Tiny-quickgelu", str(path))
    assert {value.dtype for value in clip.state_dict().values()} == {torch.float32}
    tolerance = 0.02 if half else 0
    torch.testing.assert_close(
        _embeddings(clip), _embeddings(expected), atol=tolerance, rtol=tolerance
    )
    assert "randomly" not in caplog.text
    torch.save({"positional_embedding": torch.ones(1)}, path)
    with pytest.raises(CLIPError, match="do not fit Tiny-quickgelu") as caught:
        create_clip("Tiny-quickgelu", str(path))
    assert len(str(caught.value)) < 500
    archive = torch.jit.trace(Scripted({"visual.proj": torch.ones(2)}), torch.zeros(1))  # type: ignore[no-untyped-call]
    archive.save(path)
    with pytest.raises(
        CLIPError, match=r"they lack ln_final.bias, .*; of another shape are visual"
    ):
        create_clip("Tiny-quickgelu", str(path))


@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
def test_features_are_those_of_hugging_face_s_clip(
    weights: Path, tmp_path: Path, suffix: str
) -> None:
    transformers = pytest.importorskip("transformers")
    shared = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = transformers.CLIPConfig(
        text_config={
            "vocab_size": 32, "hidden_size": 16, "max_position_embeddings": 8, "eos_token_id": 31,
            "bos_token_id": 30, "pad_token_id": 1, **shared,
        },
        vision_config={"hidden_size": 16, "image_size": 16, "patch_size": 8, **shared},
        projection_dim=16,
    )  # fmt: skip
    theirs: Any = _varied(transformers.CLIPModel(config)).eval()
    theirs.save_pretrained(tmp_path / "hub")
    path = tmp_path / "hub" / "model.safetensors"
    if suffix == ".bin":
        torch.save(theirs.state_dict(), path := tmp_path / "pytorch_model.bin")
    clip = create_clip("Tiny-quickgelu", str(path))
    random = torch.Generator().manual_seed(1)
    images, tokens = torch.rand(2, 3, 16, 16, generator=random), torch.arange(16).view(2, 8)
    tokens[:, -1] = 31  # the largest, by which both find the end
    with torch.no_grad():
        found = clip.encode_image(images), clip.encode_text(tokens)  # type: ignore[operator]
        both = theirs(input_ids=tokens, pixel_values=images)
    for ours, expected in zip(found, (both.image_embeds, both.text_embeds), strict=True):
        torch.testing.assert_close(
            nn.functional.normalize(ours, dim=1), expected, atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize("saved", [torch.save, None])
def test_other_models_with_two_towers_are_told_in_one_sentence(
    weights: Path, tmp_path: Path, saved: object
) -> None:
    names = ("vision_model.head.attention.in_proj_weight", "text_model.final_layer_norm.weight")
    content = {name: torch.ones(1) for name in names}
    path = tmp_path / "model.safetensors"
    if saved is None:
        save_file(content, path)
    else:
        torch.save(content, path := tmp_path / "pytorch_model.bin")
    with pytest.raises(
        CLIPError, match=r"another layout .*\(vision_model.head.attention"
    ) as caught:
        create_clip("Tiny", str(path))
    assert len(str(caught.value)) < 300


def test_folders_as_open_clip_saves_them(weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(CLIPError, match=r"There is no .*/model/open_clip_config.json"):
        create_clip(f"local-dir:{folder}", None)
    config = {"model_cfg": TINY | {"quick_gelu": True}, "preprocess_cfg": {"mean": [0.25] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(CLIPError, match=r"cannot be loaded \(Required pretrained weights"):
        create_clip(f"local-dir:{folder}", None)
    save_file(torch.load(weights), folder / "open_clip_model.safetensors")
    clip = create_clip(f"local-dir:{folder}", None)
    assert torch.equal(_embeddings(clip), _theirs("Tiny-quickgelu", weights))
    assert image_statistics(clip)[1].flatten().tolist() == [0.25] * 3
    with pytest.warns(UserWarning, match="brings its own weights, and `pretrained: openai` is not"):
        create_clip(f"local-dir:{folder}", "openai")


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for create in (lambda: create_clip("hf-hub:a/b", None), lambda: create_tokenizer("hf-hub:a/b")):
        with pytest.raises(
            CLIPError, match=r"hf-hub:a/b could not be had .*: fetch its open_clip_"
        ):
            create()


def test_weights_of_the_package_that_do_not_fit_are_not_told_to_be_fetched() -> None:
    with pytest.raises(CLIPError, match="The weights shapes_clip do not fit avatars_clip"):
        create_clip(AVATARS_CLIP, SHAPES_CLIP)
