"""The interpreter of pickles against the one of Python, and against what it must refuse."""

import os
import pickle
import random
import struct
from io import BytesIO
from mmap import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdgs_lightning.formats.inert_pickle.machine import Budget, PickleError, Span, load
from qdgs_lightning.formats.inert_pickle.numpy import ARRAY_CALLS, ARRAY_NAMES, SCALAR_CALLS, Array

CALLS = {**SCALAR_CALLS, **ARRAY_CALLS}


def read(data: bytes, *, max_opcodes: int = 10_000, kind: str = "checkpoint") -> Any:  # noqa: ANN401
    budget = Budget(len(data), max_opcodes=max_opcodes, kind=kind)
    return load(BytesIO(data), budget=budget, calls=CALLS, names=ARRAY_NAMES)


def mapped(data: bytes) -> mmap:
    memory = mmap(-1, len(data))
    memory.write(data)
    memory.seek(0)
    return memory


def anything(rng: random.Random, depth: int = 0) -> object:
    """Return nested data of all kinds that pickles of checkpoints hold."""
    kind = rng.randrange(6 if depth == 4 else 10)
    leaves = (
        None,
        rng.random() < 0.5,
        rng.choice([0, 255, 256, -1, 2**31, -(2**31), 2**70]),
        rng.choice([0.0, -1.5, 1e300]),
        rng.choice(["", "a", "ü" * 300, "\n"]),
        rng.randbytes(rng.choice([3, 300])),
    )
    if kind < 6:
        return leaves[kind]
    items = [anything(rng, depth + 1) for _ in range(rng.randrange(6))]
    items.extend(items[:1])  # the same object twice, which pickle remembers
    if kind == 6:
        return items
    if kind == 7:
        return tuple(items)
    if kind == 8:
        return {f"key {i}": item for i, item in enumerate(items)}
    return {rng.randrange(99) for _ in items}


@pytest.mark.parametrize("protocol", range(6))
def test_the_same_as_python_s_own(protocol: int) -> None:
    rng = random.Random(protocol)
    for _ in range(200):
        value = anything(rng)
        data = pickle.dumps(value, protocol=protocol)
        if b"builtins\nset" in data or b"__builtin__\nset" in data:
            continue  # a set is a call before protocol 4, and none that is allowed here
        assert read(data) == pickle.loads(data) == value


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"(lp0\nS'\\xff\\n\\'\"\\\\'\np1\naS\"it's\"\np2\naI01\naI00\naI7\nag1\na.", None),
        (b"\x80\x02]q\x00(U\x02\xff'q\x01T\x03\x00\x00\x00abc\x88\x89h\x01e.", None),
        (b"(S'a'\nI1\nL12345678901L\ntp0\n.", (b"a", 1, 12345678901)),
    ],
)
def test_strings_of_python_2_are_bytes(data: bytes, expected: object) -> None:
    assert read(data) == pickle.loads(data, encoding="bytes")
    assert expected is None or read(data) == expected


def test_numpy_of_any_protocol() -> None:
    array = np.arange(12, dtype=np.uint8).reshape(12, 1)
    for protocol in (2, 3, 4, 5):
        same, flag = read(pickle.dumps([array, np.True_], protocol=protocol))
        assert isinstance(same, Array)
        assert same.data == array.tobytes()
        assert flag is True


def test_spans_leave_bytes_in_the_file() -> None:
    long, short = bytes(range(256)) * 2, b"short"
    data = pickle.dumps([long, short, long[::-1], bytearray(long)], protocol=5) + b"behind"
    memory = mapped(data)
    budget = Budget(len(data))
    first, second, third, fourth = load(memory, budget=budget, calls={}, spans=True)
    assert second == short
    assert memory.read() == b"behind"
    for span, expected in ((first, long), (third, long[::-1]), (fourth, long)):
        assert isinstance(span, Span)
        assert data[span.start : span.start + span.length] == expected


@pytest.mark.parametrize(
    "damaged",
    [
        b"\x80\x04C\xff" + b"x" * 254 + b".",
        b"\x80\x04B" + struct.pack("<I", 2**32 - 1) + b"x.",
        b"\x80\x04\x8e" + struct.pack("<Q", 2**63) + b"x.",
        b"\x80\x02T" + struct.pack("<i", -1) + b"x.",
        b"\x80\x02T" + struct.pack("<i", 2**30) + b"x.",
        b"\x80\x02T\x01",
    ],
)
def test_lengths_beyond_the_end(damaged: bytes) -> None:
    with pytest.raises(PickleError):
        read(damaged)
    with pytest.raises(PickleError):
        load(mapped(damaged), budget=Budget(len(damaged)), calls={}, spans=True)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "ends too early"),
        (b"\x80\x04N", "ends too early"),
        (b"\x80\x04\xffN.", r"b'\\xff' is no opcode"),
        (b"\x80\x09N.", "its protocol is 9"),
        (b"\x80\x04.", "damaged"),
        (b"\x80\x04h\x05.", "damaged"),
        (b"\x80\x04(e.", "damaged"),
        (b"\x80\x04e.", "damaged"),
        (b"\x80\x04NNa.", "list expected"),
        (b"\x80\x04}(K\x01u.", "damaged"),
        (b"\x80\x04})Ns.", "a key that is no text"),
        (b"\x80\x04(NQ.", "opcode BINPERSID, which no checkpoint needs"),
        (b"cos\nsystem\n(S'true'\ntR.", "asks for os.system"),
        (b"(S'true'\nios\nsystem\n.", "opcode INST"),
        (b"(cos\nsystem\nS'true'\no.", "asks for os.system"),
        (b"(S'numpy'\nS'true'\no.", "opcode OBJ"),
        (b"cbuiltins\neval\n(V1\ntR.", "asks for builtins.eval"),
        (b"c__builtin__\nbytes\n(tR.", "asks for __builtin__.bytes"),
        (b"(NNd.", "a key that is no text"),
        (b"Fmany\n.", "damaged"),
        (b"V\\uzzzz\n.", "damaged"),
        (b"S'no end\n.", "without its quotes"),
        (b"S'\n.", "without its quotes"),
        (b"S'\\q'\n.", "unknown escapes"),
        (b"\x80\x04\x82\x01.", "opcode EXT1"),
        (b"\x80\x02T\xff\xff\xff\xffabc.", "a length that is none"),
    ],
)
def test_what_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(PickleError, match=message):
        read(data)


def test_messages_say_what_the_file_should_be() -> None:
    for data, message in (
        (pickle.dumps(os.getcwd), r"asks for posix\.getcwd, which no verification set needs"),
        (b"\x80\x04" + b"N" * 20 + b".", "larger than any verification set"),
        (b"\x80\x04\x82\x01.", "opcode EXT1, which no verification set needs"),
    ):
        with pytest.raises(PickleError, match=message):
            read(data, max_opcodes=20, kind="verification set")


def test_the_number_of_opcodes_is_limited() -> None:
    data = pickle.dumps([None] * 1000)
    assert len(read(data, max_opcodes=1010)) == 1000
    with pytest.raises(PickleError, match="larger than any"):
        read(data, max_opcodes=1000)


def test_depth_is_limited() -> None:
    for body in (b"]" * 20_000, b"(" * 20_000):
        with pytest.raises(PickleError, match="larger than any"):
            read(b"\x80\x04" + body + b".", max_opcodes=100_000)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ((1, (3,), "dtype", False, b"abcd"), "of another size"),
        ((1, (2, 2), "dtype", False, b"abc"), "of another size"),
        ((1, (-1, -3), "dtype", False, b"abc"), "an impossible shape"),
        ((1, (2**62, 0), "dtype", False, b""), "an impossible shape"),
        ((1, (1,) * 5, "dtype", False, b"a"), "without a shape"),
        ((1, 3, "dtype", False, b"abc"), "without a shape"),
        ((1, (3,), None, False, b"abc"), "without numbers"),
        ((1, (3,), "dtype", False, "abc"), "without numbers"),
        ((1, (3,), "dtype", False, [1, 2, 3]), "of another kind"),
        (b"abc", "without numbers"),
    ],
)
def test_arrays_that_contradict_themselves(state: object, message: str) -> None:
    dtype = CALLS["numpy", "dtype"]("u1", False, True)
    if isinstance(state, tuple):
        state = tuple(dtype if part == "dtype" else part for part in state)
    with pytest.raises(PickleError, match=message):
        Array().build(state)


def test_numbers_of_other_kinds_and_machines() -> None:
    for array in (np.zeros(3, np.complex64), np.array(["a"]), np.zeros(3, "M8[s]")):
        with pytest.raises(PickleError, match="unknown kind"):
            read(pickle.dumps(array, protocol=4))
    with pytest.raises(PickleError, match="big-endian"):
        read(pickle.dumps(np.zeros(3, ">f4"), protocol=4))


def test_nothing_is_done_whatever_the_file_asks(tmp_path: Path) -> None:
    marker = tmp_path / "marker"

    class Attack:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch {marker}",)

    for protocol in range(6):
        with pytest.raises(PickleError, match=r"asks for posix\.system"):
            read(pickle.dumps([Attack()], protocol=protocol))
    assert not marker.exists()
