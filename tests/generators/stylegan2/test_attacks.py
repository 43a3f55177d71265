"""Files that want more than to be read: nothing of them runs, and nothing grows out of bounds."""

import builtins
import os
import pickle
import random
import resource
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

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


def load(folder: Path, data: bytes) -> None:
    """Load a file within bounds of time and memory; any error but `CheckpointError` fails."""
    path = folder / "attack.pkl"
    path.write_bytes(data)
    begin, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        load_stylegan2(path)
    finally:
        grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        assert time.monotonic() - begin < SECONDS
        assert grown < BYTES


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


def test_a_module_within_itself_is_refused(tmp_path: Path) -> None:
    network = module(Parity("sg2_res32_orig"))
    network.state["_modules"]["again"] = network
    with their_names():
        data = pickle.dumps({"G_ema": network}, protocol=4)
    with pytest.raises(CheckpointError):
        load(tmp_path, data)


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
        network = root = module(Parity("sg2_res32_orig"))
        for name in filter(None, owner.split(".")):
            network = network.state["_modules"][name]
        network.state.update(changes)
        with their_names():
            data = pickle.dumps({"G_ema": root}, protocol=4)
        with pytest.raises(CheckpointError):
            load(tmp_path, data)
