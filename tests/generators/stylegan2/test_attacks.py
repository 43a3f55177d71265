"""Files that want more than to be read: nothing of them runs, and nothing grows out of bounds."""

import builtins
import io
import json
import os
import pickle
import random
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from qdgs_lightning.generators.stylegan2 import CheckpointError, load_stylegan2
from tests.generators.stylegan2.official_files import (
    module,
    official_file,
    small_parity,
    their_names,
)
from tests.generators.stylegan2.parity import Parity

SECONDS = 5
BYTES = 2**30


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """A file that attacks try to write; none may succeed."""
    path = tmp_path / "marker"
    yield path
    assert not path.exists()


def resident(which: str) -> int:
    """Return the memory of this process in bytes: VmRSS now, VmHWM at its peak."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split(f"{which}:")[1].split()[0])


def load(folder: Path, data: bytes) -> None:
    """Load a file within bounds of time and memory; any error but `CheckpointError` fails."""
    path = folder / "attack.pkl"
    path.write_bytes(data)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    begin, before = time.process_time(), resident("VmRSS")
    try:
        load_stylegan2(path)
    finally:
        assert time.process_time() - begin < SECONDS
        assert resident("VmHWM") - before < BYTES


class Reduced:
    """Pickles as a call of anything."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[object, ...]:
        return self.function, self.arguments


def named(package: str, name: str, *arguments: str) -> bytes:
    """Return a pickle that calls what two strings name, dotted or not."""
    body = b"\x80\x04"
    for part in (package, name):
        body += b"\x8c" + bytes([len(part)]) + part.encode()
    body += b"\x93("
    for argument in arguments:
        body += b"\x8c" + bytes([len(argument)]) + argument.encode()
    return body + b"tR."


def changed(owner: str, **attributes: object) -> bytes:
    """Return an official file in which a module has other attributes."""
    network = root = module(Parity("sg2_res32_orig"))
    for name in filter(None, owner.split(".")):
        network = network.state["_modules"][name]
    network.state.update(attributes)
    with their_names():
        return pickle.dumps({"G_ema": root}, protocol=4)


def test_sets_hold_names_alone(tmp_path: Path) -> None:
    for items in ({1}, {"a name", 2}, {("a", "b")}):
        with pytest.raises(CheckpointError, match="a set of anything but names"):
            load(tmp_path, pickle.dumps(items, protocol=2))


def test_calls_of_the_system_are_not_made(tmp_path: Path, marker: Path) -> None:
    for call in (
        Reduced(os.system, f"touch {marker}"),
        Reduced(builtins.eval, f"open({str(marker)!r}, 'w')"),
        Reduced(builtins.exec, f"open({str(marker)!r}, 'w')"),
        Reduced(marker.touch),
    ):
        for protocol in (2, 3, 4, 5):
            with pytest.raises(CheckpointError, match=r"asks for|calls"):
                load(tmp_path, pickle.dumps({"G_ema": call}, protocol=protocol))


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("torch._utils", "torch.os.system"),
        ("torch_utils.persistence", "_reconstruct_persistent_obj.__globals__"),
        ("dnnlib.util", "call_func_by_name"),
        ("dnnlib.util", "get_obj_by_name"),
        ("dnnlib", "util.call_func_by_name"),
        ("functools", "partial"),
        ("collections", "OrderedDict.fromkeys"),
    ],
)
def test_names_match_as_a_whole(tmp_path: Path, marker: Path, package: str, name: str) -> None:
    with pytest.raises(CheckpointError, match="asks for"):
        load(tmp_path, named(package, name, f"touch {marker}"))


def test_embedded_source_is_not_executed(tmp_path: Path, marker: Path) -> None:
    source = f"open({str(marker)!r}, 'w').close()\n"
    load(tmp_path, official_file(Parity("sg2_res32_orig"), source=source))


def test_payloads_within_storages_are_not_executed(tmp_path: Path, marker: Path) -> None:
    attack = pickle.dumps(Reduced(os.system, f"touch {marker}"), protocol=2)
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
    for inner in (attack, magic + attack, magic + pickle.dumps(1001, protocol=2) + attack):
        call = named("torch.storage", "_load_from_bytes")[:-3]
        data = call + b"B" + struct.pack("<I", len(inner)) + inner + b"tR."
        with pytest.raises(CheckpointError):
            load(tmp_path, data)


def test_views_stay_within_their_numbers(tmp_path: Path) -> None:
    storage = torch.zeros(4).storage()  # type: ignore[no-untyped-call]
    for size, stride, offset in (
        ((5,), (1,), 0),
        ((4,), (1,), 1),
        ((2**40,), (0,), 0),
        ((2**20, 2**20), (0, 0), 0),
        ((2,), (-1,), 3),
        ((-1,), (1,), 0),
        ((1,), (1,), -1),
        ((1,), (1,), 2**62),
    ):
        arguments: tuple[object, ...] = (storage, offset, size, stride, False, {})
        data = pickle.dumps(Reduced(torch._utils._rebuild_tensor_v2, *arguments), protocol=4)
        with pytest.raises(CheckpointError, match=r"beyond its numbers|impossible shape"):
            load(tmp_path, data)


def test_depth_and_cycles_are_bounded(tmp_path: Path) -> None:
    deep = b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b"."
    nested = b"\x80\x04)" + b"\x85" * 1_000_000 + b"."
    # Fewer, so that it is not their number that is refused: hashing them would end the process.
    as_key = b"\x80\x04})" + b"\x85" * 150_000 + b"Ns."
    as_name = b"\x80\x04)" + b"\x85" * 150_000 + b"\x8c\x01a\x93."
    cycle = b"\x80\x04}\x94\x8c\x05G_emah\x00s."
    for data in (deep, nested, as_key, as_name, cycle):
        with pytest.raises(CheckpointError):
            load(tmp_path, data)


def test_values_that_hashing_or_comparing_would_never_end(tmp_path: Path) -> None:
    doubled: tuple[object, ...] = ()
    for _ in range(60):
        doubled = (doubled, doubled)
    for owner, attribute in (
        ("synthesis.b4.conv1", "conv_clamp"),
        ("synthesis.b8.conv1", "conv_clamp"),
        ("synthesis.b4", "architecture"),
        ("mapping.fc0", "bias_gain"),
        ("mapping.fc0", "activation"),
    ):
        with pytest.raises(CheckpointError):
            load(tmp_path, changed(owner, **{attribute: doubled}))


def test_calls_that_repeat_use_up_a_budget(tmp_path: Path) -> None:
    text = b"X" + struct.pack("<I", 2**20) + b"x" * 2**20  # a megabyte of text, encoded each time
    arguments = text + b"\x8c\x06latin1\x86\x94"  # memo 0
    function = b"\x8c\x07_codecs\x8c\x06encode\x93\x94"  # memo 1
    calls = b"h\x01h\x00R" * 9_000
    with pytest.raises(CheckpointError, match="more work than any checkpoint"):
        load(tmp_path, b"\x80\x04" + arguments + function + calls + b"N.")


def test_keys_that_collide_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="a key that is no text"):
        load(tmp_path, pickle.dumps({k * (2**61 - 1): 0 for k in range(1, 50_000)}, protocol=4))


def test_a_view_of_a_view_is_refused(tmp_path: Path) -> None:
    storage = torch.zeros(1).storage()  # type: ignore[no-untyped-call]
    rebuild = torch._utils._rebuild_tensor_v2
    wide = Reduced(rebuild, storage, 0, (2**39, 0), (1, 1), False, {})
    huge = Reduced(rebuild, wide, 0, (2**14, 2**14, 3, 3), (0, 0, 0, 0), False, {})
    with pytest.raises(CheckpointError, match="a tensor without numbers"):
        load(tmp_path, pickle.dumps(huge, protocol=4))


@pytest.mark.parametrize(
    "change",
    [
        {"mapping_kwargs": {"num_layers": 10**18}},
        {"mapping_kwargs": {"num_layers": 10**5}},
        {"mapping_kwargs": {"num_layers": 1, "layer_features": 2.5}},
        {"mapping_kwargs": {"num_layers": 1, "lr_multiplier": "x"}},
        {"synthesis_kwargs": {"channels": [8, 8], "conv_clamp": "x", "architecture": "skip"}},
        {"synthesis_kwargs": {"channels": [10**9] * 2, "conv_clamp": 1, "architecture": "skip"}},
        {"synthesis_kwargs": {"channels": [8, 8], "conv_clamp": 1, "architecture": ["skip"]}},
        {"img_resolution": 2**40},
        {"z_dim": 10**6},
        {"w_dim": True},
    ],
    ids=str,
)
def test_sizes_that_a_kept_file_makes_up(tmp_path: Path, change: dict[str, object]) -> None:
    config = {
        "z_dim": 8,
        "c_dim": 0,
        "w_dim": 8,
        "img_resolution": 8,
        "img_channels": 3,
        "mapping_kwargs": {"num_layers": 1},
        "synthesis_kwargs": {"channels": [8, 8], "conv_clamp": None, "architecture": "skip"},
        **change,
    }
    header = {"stylegan2": json.dumps({"config": config})}
    with pytest.raises(CheckpointError, match="its "):
        load(tmp_path, save({"w_std": torch.ones(8)}, header))


def test_weights_that_share_few_numbers_are_refused(tmp_path: Path) -> None:
    shared, root = torch.zeros(2**20), module(Parity("sg2_res32_orig"))
    dense = root.state["_modules"]["mapping"].state["_modules"]
    dense["fc0"].state["_parameters"]["weight"] = torch.nn.Parameter(shared.view(1024, 1024))
    dense.update({f"fc{index}": dense["fc0"] for index in range(100, 800)})
    with their_names():
        data = pickle.dumps({"G_ema": root}, protocol=4)
    with pytest.raises(CheckpointError, match="more numbers than the file"):
        load(tmp_path, data)
    views = {f"a{i}": shared[: 2**20 - i] for i in range(1000)}
    views["conv1.conv.modulation.weight"] = shared  # for which it is taken for a generator
    torch.save({"g_ema": views}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="more work"):
        load(tmp_path, (tmp_path / "a.pt").read_bytes())


def test_a_module_within_itself_is_refused(tmp_path: Path) -> None:
    network = module(Parity("sg2_res32_orig"))
    network.state["_modules"]["again"] = network
    with their_names():
        data = pickle.dumps({"G_ema": network}, protocol=4)
    with pytest.raises(CheckpointError):
        load(tmp_path, data)


def test_a_module_of_torchscript_within_itself_is_refused(tmp_path: Path) -> None:
    # PROTO 2, a class of TorchScript made by NEWOBJ, and a BUILD with itself twice.
    cyclic = b"\x80\x02c__torch__\nA\n)\x81q\x00}(X\x01\x00\x00\x00ah\x00X\x01\x00\x00\x00bh\x00ub."
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", cyclic)
    with pytest.raises(CheckpointError, match="more modules than any network"):
        load(tmp_path, buffer.getvalue())


def test_only_modules_of_torchscript_are_made_up(tmp_path: Path, marker: Path) -> None:
    for package, name in (("__torch__evil", "system"), ("torch.jit._pickle", "system")):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("a/data.pkl", named(package, name, f"touch {marker}"))
        with pytest.raises(CheckpointError, match=rf"asks for {package}\.{name}"):
            load(tmp_path, buffer.getvalue())


def test_lengths_that_a_file_makes_up_allocate_nothing(tmp_path: Path) -> None:
    for data in (
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.",
        b"\x80\x04B" + struct.pack("<I", 2**32 - 1) + b"x.",
        b"\x80\x03Nr" + struct.pack("<I", 2**32 - 1) + b".",
        b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",
    ):
        with pytest.raises(CheckpointError):
            load(tmp_path, data)


def test_truncated_files(tmp_path: Path) -> None:
    data = official_file(small_parity())
    load(tmp_path, data)
    for end in range(0, len(data), 1000):
        with pytest.raises(CheckpointError):
            load(tmp_path, data[:end])


def test_two_thousand_flips_of_single_bytes(tmp_path: Path) -> None:
    data = official_file(small_parity(), protocol=3)
    rng, refused = random.Random(0), 0
    for _ in range(2000):
        damaged = bytearray(data)
        damaged[rng.randrange(len(data))] ^= rng.randrange(1, 256)
        try:
            load(tmp_path, bytes(damaged))
        except CheckpointError:
            refused += 1
    assert refused > 100  # the others changed a weight, a comment or an attribute that is not read


def test_attributes_of_another_type_are_refused(tmp_path: Path) -> None:
    for owner, changes in (
        ("synthesis.b4.conv1", {"conv_clamp": [256]}),
        ("synthesis.b8", {"architecture": ["skip"]}),
        ("", {"z_dim": -3}),
        ("", {"img_channels": 2**62}),
    ):
        with pytest.raises(CheckpointError):
            load(tmp_path, changed(owner, **changes))
