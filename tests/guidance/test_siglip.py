"""Models whose text goes through a tokenizer of Hugging Face: with the library, and without it."""

import json
import sys
from pathlib import Path

import open_clip
import pytest
import torch

from qdgs_lightning.guidance import PromptGuidance, PromptPair
from qdgs_lightning.guidance.clip import CLIPError, create_tokenizer

SIGLIP = "ViT-B-16-SigLIP"


def test_without_the_library_one_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)  # as if it were not installed
    with pytest.raises(CLIPError) as caught:
        create_tokenizer(SIGLIP)
    assert str(caught.value) == (
        f"The tokenizer of {SIGLIP} needs transformers, which is not installed: "
        "`pip install 'qdgs-lightning[transformers]'`."
    )


def test_without_the_files_the_repository_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CLIPError, match="timm/ViT-B-16-SigLIP at Hugging Face, so bring them"):
        create_tokenizer(SIGLIP)


def write_tokenizer(folder: Path, sentences: list[str]) -> None:
    """Keep a tokenizer of these sentences as SigLIP's is kept: pieces, and one token at the end."""
    tokenizers = pytest.importorskip("tokenizers")
    unigrams = tokenizers.Tokenizer(tokenizers.models.Unigram())
    unigrams.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    unigrams.train_from_iterator(
        sentences,
        tokenizers.trainers.UnigramTrainer(
            vocab_size=80,
            special_tokens=["<pad>", "</s>", "<unk>"],
            unk_token="<unk>",
            show_progress=False,
        ),
    )
    unigrams.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    unigrams.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "T5Tokenizer", "pad_token": "</s>", "eos_token": "</s>"}
    content = json.dumps({**settings, "unk_token": "<unk>", "extra_ids": 0})
    (folder / "tokenizer_config.json").write_text(content)


def test_a_small_model_judges_by_its_own_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The configuration is SigLIP's with a small tower and a tokenizer that needs no network.

    (transformers 5.0.0 guesses the kind of a tokenizer by names of models in its path, so that the
    name of this test, which is in the path, must hold none.)
    """
    pytest.importorskip("transformers")
    pair = PromptPair(name="colour", positive="a red shape", negative="a blue shape")
    write_tokenizer(tmp_path, [pair.positive, pair.negative, "regular things", "splatters"])
    small = open_clip.get_model_config(SIGLIP)
    small["embed_dim"] = 192
    small["vision_cfg"] |= {"timm_model_name": "vit_tiny_patch16_224"}
    small["text_cfg"] |= {"width": 192, "heads": 3, "layers": 1}
    small["text_cfg"] |= {"hf_tokenizer_name": str(tmp_path)}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Small-SigLIP", small)
    tokens = create_tokenizer("Small-SigLIP")(["A red shape!", "a red shape", "a blue shape"])
    assert tokens.shape == (3, 64)
    assert torch.equal(tokens[0], tokens[1])  # its own cleaning: no capitals, no punctuation
    assert not torch.equal(tokens[1], tokens[2])
    guidance = PromptGuidance(
        objective=PromptPair(name="fine", positive="regular things", negative="splatters"),
        measures=[pair],
        model="Small-SigLIP",
        pretrained=None,
    )
    guidance.prepare()
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    values = guidance(images, torch.zeros(2, 1)).measures
    assert values.shape == (2, 1)
    assert values.isfinite().all()
    assert values.abs().min() > 0
