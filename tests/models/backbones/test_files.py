"""Files of weights in all their formats: whole, old, damaged, and meant to do harm."""

import os
import pickle
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from qdgs_lightning.models import BackboneError, load_backbone_weights
from tests.models.backbones import original_names
from tests.models.backbones.weight_files import (
    SMALL_NAMES,
    embed,
    ir_file,
    iresnet_file,
    saved,
    small,
    wholly,
)


def test_containers_and_formats_of_files(tmp_path: Path) -> None:
    weights = iresnet_file()
    load_backbone_weights(expected := small(), saved(weights, tmp_path / "plain.pth"))
    old = tmp_path / "old.pth"
    torch.save(weights, old, _use_new_zipfile_serialization=False)
    checkpoint = {
        "epoch": 3,
        "state_dict_backbone": weights,
        "state_dict_softmax_fc": {"weight": torch.ones(7, 24)},
        "state_optimizer": {"state": {0: {"step": torch.tensor(1)}}},
    }
    saved(checkpoint, tmp_path / "checkpoint_gpu_0.pt")
    save_file(weights, tmp_path / "named_as_pickle.bin")
    counts = {
        name: torch.tensor(5)
        for name, shape in original_names.iresnet(**SMALL_NAMES).items()  # type: ignore[arg-type]
        if shape == ()
    }
    saved(weights | counts, tmp_path / "counted.pt")
    halves = {name: value.half() for name, value in weights.items()}
    saved(halves, tmp_path / "half.pt")
    for name in ("old.pth", "checkpoint_gpu_0.pt", "named_as_pickle.bin", "counted.pt"):
        report = load_backbone_weights(backbone := small(), tmp_path / name)
        assert wholly(report), name
        assert torch.equal(embed(backbone), embed(expected)), name
    load_backbone_weights(backbone := small(), tmp_path / "half.pt")
    assert backbone.state_dict()["fc.weight"].dtype == torch.float32
    torch.testing.assert_close(embed(backbone), embed(expected), rtol=0.01, atol=0.01)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_files_that_are_damaged(tmp_path: Path) -> None:
    torch.save(iresnet_file(), whole := tmp_path / "whole.pt")
    torch.save(iresnet_file(), old := tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    save_file(iresnet_file(), tensors := tmp_path / "whole.safetensors")
    module = torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2))  # type: ignore[no-untyped-call]
    module.save(tmp_path / "script.pt")
    contents = [b"", b"PK", b"\x80\x02", b"<html>not found</html>", b"\0" * 100]
    contents += [pickle.dumps({"a": 1}), pickle.dumps([1] * 9, protocol=0)]
    for file in (whole, old, tensors):
        data = file.read_bytes()
        contents += [data[: len(data) // 2], data[:40], data[:-9], data[:90] + b"?" + data[91:-80]]
    contents.append((tmp_path / "script.pt").read_bytes())
    for content in contents:
        path = tmp_path / "damaged.pt"
        path.write_bytes(content)
        with pytest.raises(BackboneError, match=str(path)) as caught:
            load_backbone_weights(small(), path)
        assert "\n" not in str(caught.value)
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(BackboneError, match=r"cannot be read \(.+\); check the path"):
            load_backbone_weights(small(), path)


class Attack:
    """Makes a folder when it is unpickled, by one of two ways."""

    def __init__(self, path: Path, *, by_attribute: bool = False) -> None:
        self.path = path
        self.by_attribute = by_attribute

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.mkdir, (self.path,)) if self.by_attribute else (os.mkdir, (str(self.path),))


class Harmless:
    """Of this project, but no file of weights has a need of it."""


@pytest.mark.parametrize("modern", [True, False])
def test_nothing_in_a_file_is_run(tmp_path: Path, modern: bool) -> None:
    path, made = tmp_path / "bad.ckpt", tmp_path / "made"
    attacks = [Attack(made), Attack(made, by_attribute=True)]
    for attack in attacks:
        pickle.loads(pickle.dumps(attack))
        made.rmdir()
    for extra in (*attacks, Harmless(), print, os._exit):
        content = {"state_dict": ir_file("model."), "extra": extra}
        torch.save(content, path, _use_new_zipfile_serialization=modern)
        with pytest.raises(BackboneError, match=r"more than weights \(.+\) and was not read, nor"):
            load_backbone_weights(small("ir"), path)
        assert not made.exists()


def fake(monkeypatch: pytest.MonkeyPatch, name: str, base: type = object) -> type:
    """Make a class that can be pickled by a name that need not exist here."""
    parts = name.split(".")
    for length in range(1, len(parts)):
        module = ".".join(parts[:length])
        monkeypatch.setitem(sys.modules, module, ModuleType(module))
    made = type(parts[-1], (base,), {"__module__": ".".join(parts[:-1])})
    setattr(sys.modules[made.__module__], parts[-1], made)
    return made


@pytest.mark.parametrize("modern", [True, False])
def test_checkpoints_of_old_lightning(tmp_path: Path, modern: bool) -> None:
    path = tmp_path / "epoch=24-step=9.ckpt"
    with pytest.MonkeyPatch.context() as patch:
        namespace = fake(patch, "argparse.Namespace")()
        namespace.lr, namespace.layers = 0.1, [1, 2]
        options = fake(patch, "pytorch_lightning.utilities.parsing.AttributeDict", dict)
        own = fake(patch, "utils.dotdict", dict)
        easy = fake(patch, "easydict.EasyDict", dict)(lr=0.1)
        easy.lr = 0.1
        callback = fake(patch, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint")
        head = {"head.kernel": torch.ones(24, 7), "head.t": torch.zeros(1)}
        content = {
            "epoch": 24,
            "pytorch-lightning_version": "1.4.4",
            "state_dict": ir_file("model.") | head,
            "callbacks": {callback: {"best_model_path": Path("a/b.ckpt"), "best": options(a=1)}},
            "optimizer_states": [{"state": {0: {"momentum_buffer": torch.ones(2)}}}],
            "hyper_parameters": own(arch="ir_18", lr=0.1),
            "args": [namespace, easy, torch.float32, torch.Size([1])],
        }
        torch.save(content, path, _use_new_zipfile_serialization=modern)
    before = set(torch.serialization.get_safe_globals())
    report = load_backbone_weights(small("ir"), path)
    assert report.format == "AdaFace"
    assert report.outside == ("head.kernel", "head.t")
    assert set(torch.serialization.get_safe_globals()) == before
    best = {"state_dict": ir_file("model."), "best": np.float64(0.9), "last": np.float32(0.8)}
    torch.save(best, path, _use_new_zipfile_serialization=modern)
    assert wholly(load_backbone_weights(small("ir"), path))
