"""Reading pickles without executing anything: an interpreter of the opcodes that build data.

`pickle.Unpickler` imports and calls whatever a file names, and its subclasses must forbid this one
attack at a time. Here nothing is imported at all: a global is a pair of strings, and a call of it
looks that pair up in a table of functions of this package. Numbers that a file makes up allocate
nothing, since what is read is never longer than the file; and what it does over and over again
comes out of a budget, since a pickle can call a function on the same megabyte a thousand times.

Strings of Python 2 are bytes here, as it took them for both, and so are bytearrays; the opcodes of
protocols 0 and 1 are read as far as lists and dicts of strings and numbers need them. Those that
make instances (INST, OBJ) or look a global up by a number (EXT1) are refused.
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from mmap import mmap
from typing import IO, Any

from qdgs_lightning.formats.inert_pickle.arguments import (
    READERS,
    SPAN_READERS,
    PickleError,
    Reader,
    Span,
)

__all__ = ["Budget", "Call", "Global", "Name", "PickleError", "Span", "load", "ordered_dict"]

Call = Callable[..., Any]
Name = tuple[str, str]

_MAX_OPCODES = 200_000  # official checkpoints have some ten thousand
_MAX_DEPTH = 10_000  # of the stack; official checkpoints need some hundred
_MAX_KEY = 2**31  # larger ones can be chosen to collide in a dict, all of them


@dataclass(frozen=True)
class Global:
    """What a pickle wants imported; nobody does."""

    module: str
    name: str


class Budget:
    """What reading one file may cost, in bytes handled; pickles within it draw on the same budget.

    Args:
        size: Bytes of the file. Official checkpoints handle each byte three times at most.
        max_opcodes: How many a pickle may have.
        kind: What the file should be, for messages.
    """

    def __init__(
        self, size: int, *, max_opcodes: int = _MAX_OPCODES, kind: str = "checkpoint"
    ) -> None:
        self.max_opcodes = max_opcodes
        self.kind = kind
        self._left = 2**26 + 4 * size

    def spend(self, cost: int) -> None:
        """Take from the budget.

        Raises:
            PickleError: It is used up.
        """
        self._left -= cost
        if self._left < 0:
            raise PickleError(f"it takes more work than any {self.kind}")


def load(
    file: IO[bytes] | mmap,
    *,
    budget: Budget,
    calls: Mapping[Name, Call],
    names: frozenset[Name] = frozenset(),
    persistent: Call | None = None,
    spans: bool = False,
) -> Any:  # noqa: ANN401 (whatever the pickle holds)
    """Read one pickle of protocol 0 to 5; the file is left behind its end.

    Args:
        file: Where from, in memory or mapped into it: such a file never reads beyond its end,
            whatever length a pickle claims.
        budget: What the file may cost.
        calls: What stands in for each (module, name) that may be called; instances of classes are
            made by them as well. A result with a method ``build`` takes the state that a pickle
            has for it.
        names: Further globals that may occur, but not be called.
        persistent: Makes objects of persistent ids; None refuses them.
        spans: Leave bytes in the file, except short ones; it must be a mapped one.

    Returns:
        None, numbers, strings, bytes, tuples, lists, dicts, sets, `Global`, `Span` and what `calls`
        made.

    Raises:
        PickleError: The pickle is damaged, or names anything else.
    """
    machine = _Machine(budget, calls, names, persistent)
    steps = _STEPS_WITH_SPANS if spans else _STEPS
    try:
        for _ in range(budget.max_opcodes):
            code = file.read(1)
            if code == b".":
                return machine.stack.pop()
            step = steps.get(code)
            if step is None:
                raise _unknown(code, budget)
            reader, act = step
            act(machine, None if reader is None else reader(file))
            if len(machine.stack) > _MAX_DEPTH:
                break
    except PickleError:
        raise
    except MemoryError as error:
        raise PickleError("it wants more memory than there is") from error
    # What pickletools and the functions of `calls` raise when they are given nonsense.
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise PickleError(f"it is damaged: {error}") from error
    raise PickleError(f"it is larger than any {budget.kind}")


def _unknown(code: bytes, budget: Budget) -> PickleError:
    """Say what is wrong with a byte that should be an opcode."""
    if not code:
        return PickleError("it ends too early")
    for opcode in pickletools.opcodes:
        if opcode.code == code.decode("latin1"):
            return PickleError(f"it holds the opcode {opcode.name}, which no {budget.kind} needs")
    return PickleError(f"it is damaged: {code!r} is no opcode")


class _Machine:
    """The stack and the memo of a pickle that is being read; a method for each kind of opcode."""

    def __init__(
        self,
        budget: Budget,
        calls: Mapping[Name, Call],
        names: frozenset[Name],
        persistent: Call | None,
    ) -> None:
        self.stack: list[Any] = []
        self._below: list[list[Any]] = []  # what lies under each mark
        self._memo: dict[int, Any] = {}
        self._budget = budget
        self._calls = calls
        self._names = names
        self._persistent = persistent

    def protocol(self, number: int) -> None:
        """Make sure that the pickle is of a kind that is known."""
        if not 2 <= number <= 5:  # older ones do not say it
            raise PickleError(f"its protocol is {number}, which is none of 2 to 5")

    def nothing(self, _: object) -> None:
        """Skip what helps other readers only."""

    def push(self, value: object) -> None:
        """Put a value onto the stack."""
        self.stack.append(value)

    def mark(self, _: object) -> None:
        """Begin a group."""
        if len(self._below) >= _MAX_DEPTH:
            raise PickleError(f"it is larger than any {self._budget.kind}")
        self._below.append(self.stack)
        self.stack = []

    def make_tuple(self, _: object) -> None:
        """Make a group a tuple."""
        self._close(tuple(self.stack))

    def make_list(self, _: object) -> None:
        """Make a group a list."""
        self._close(self.stack)

    def make_dict(self, _: object) -> None:
        """Make a group a dict."""
        items = self._group()
        self.stack.append(dict(zip(map(_key, items[::2]), items[1::2], strict=True)))

    def tuple1(self, _: object) -> None:
        """Make one value a tuple."""
        self.stack[-1] = (self.stack[-1],)

    def tuple2(self, _: object) -> None:
        """Make two values a tuple."""
        self.stack[-2:] = [(self.stack[-2], self.stack[-1])]

    def tuple3(self, _: object) -> None:
        """Make three values a tuple."""
        self.stack[-3:] = [(self.stack[-3], self.stack[-2], self.stack[-1])]

    def append(self, _: object) -> None:
        """Append a value to a list."""
        value = self.stack.pop()
        self._top(list).append(value)

    def appends(self, _: object) -> None:
        """Append a group to a list."""
        items = self._group()
        self._top(list).extend(items)

    def add_items(self, _: object) -> None:
        """Add a group to a set."""
        items = self._group()
        self._top(set).update(map(_key, items))

    def set_item(self, _: object) -> None:
        """Set one item of a dict."""
        value, key = self.stack.pop(), self.stack.pop()
        self._top(dict)[_key(key)] = value

    def set_items(self, _: object) -> None:
        """Set a group of items of a dict."""
        items = self._group()
        self._top(dict).update(zip(map(_key, items[::2]), items[1::2], strict=True))

    def put(self, place: int) -> None:
        """Remember the top of the stack at a place."""
        self._memo[place] = self.stack[-1]

    def memoize(self, _: object) -> None:
        """Remember the top of the stack at the next place."""
        self._memo[len(self._memo)] = self.stack[-1]

    def get(self, place: int) -> None:
        """Put what is remembered onto the stack."""
        self.stack.append(self._memo[place])

    def global_(self, names: str) -> None:
        """Put a global onto the stack, named in the opcode."""
        self._push_global(*names.split(" ", 1))

    def stack_global(self, _: object) -> None:
        """Put a global onto the stack, named by the two values on top."""
        name, module = self.stack.pop(), self.stack.pop()
        self._push_global(module, name)

    def call(self, _: object) -> None:
        """Call what stands in for a global."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise PickleError("it is damaged: a call of what is no function")
        call = self._calls.get((function.module, function.name))
        if call is None:
            raise PickleError(f"it calls {function.module}.{function.name}")
        self._budget.spend(sum(map(_extent, arguments)))
        self.stack.append(call(*arguments))

    def build(self, _: object) -> None:
        """Hand a state to what was made."""
        state = self.stack.pop()
        # Attributes of a dict, such as the versions that torch notes, say nothing here.
        if type(self.stack[-1]) is not dict:
            self.stack[-1].build(state)

    def persistent(self, _: object) -> None:
        """Find what an id stands for."""
        if self._persistent is None:
            raise _unknown(b"Q", self._budget)
        self.stack.append(self._persistent(self.stack.pop()))

    def _close(self, value: object) -> None:
        """End a group, with a value in its place."""
        self.stack = self._below.pop()
        self.stack.append(value)

    def _group(self) -> Any:  # noqa: ANN401
        """End a group and return it, a list."""
        items = self.stack
        self.stack = self._below.pop()
        return items

    def _top(self, kind: type) -> Any:  # noqa: ANN401
        """Return the top of the stack, which must be of a kind."""
        if type(self.stack[-1]) is not kind:
            raise PickleError(f"it is damaged: {kind.__name__} expected")
        return self.stack[-1]

    def _push_global(self, module: object, name: object) -> None:
        """Note what is to be imported, if it may occur at all."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleError("it is damaged: a name that is no text")
        if (module, name) not in self._calls and (module, name) not in self._names:
            raise PickleError(
                f"it asks for {module}.{name}, which no {self._budget.kind} needs and which is not "
                "imported"
            )
        self.stack.append(Global(module, name))


def _extent(value: object) -> int:
    """Return how long a value is, the texts of a dict included."""
    if isinstance(value, dict):
        return len(value) + sum(len(text) for text in value.values() if isinstance(text, str))
    return len(value) if isinstance(value, str | bytes | list | tuple | set) else 1


def _key(key: object) -> str | int:
    """Return a key of a dict or set; hashing anything nested could overflow the stack.

    Strings of Python 2 become text.
    """
    if isinstance(key, bytes):
        key = key.decode("latin1")
    if not isinstance(key, str) and not (isinstance(key, int) and 0 <= key < _MAX_KEY):
        raise PickleError("it is damaged: a key that is no text")
    return key


def ordered_dict(items: object = ()) -> dict[str | int, Any]:
    """Stand in for ``collections.OrderedDict``."""
    if not isinstance(items, tuple | list):
        raise PickleError("it is damaged: pairs expected")
    return {_key(key): value for key, value in items}


def _table(
    readers: Mapping[str, Reader],
) -> dict[bytes, tuple[Reader | None, Callable[[_Machine, Any], None]]]:
    """Return what reads the argument of each opcode, and the method that does what it says."""
    methods: dict[Callable[[_Machine, Any], None], str] = {
        _Machine.protocol: "PROTO",
        _Machine.nothing: "FRAME",
        _Machine.push: "NONE NEWTRUE NEWFALSE EMPTY_DICT EMPTY_LIST EMPTY_TUPLE EMPTY_SET "
        "INT BININT BININT1 BININT2 LONG LONG1 FLOAT BINFLOAT "
        "STRING SHORT_BINSTRING BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 "
        "BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8",
        _Machine.mark: "MARK",
        _Machine.make_tuple: "TUPLE",
        _Machine.make_list: "LIST",
        _Machine.make_dict: "DICT",
        _Machine.tuple1: "TUPLE1",
        _Machine.tuple2: "TUPLE2",
        _Machine.tuple3: "TUPLE3",
        _Machine.append: "APPEND",
        _Machine.appends: "APPENDS",
        _Machine.add_items: "ADDITEMS",
        _Machine.set_item: "SETITEM",
        _Machine.set_items: "SETITEMS",
        _Machine.put: "PUT BINPUT LONG_BINPUT",
        _Machine.memoize: "MEMOIZE",
        _Machine.get: "GET BINGET LONG_BINGET",
        _Machine.global_: "GLOBAL",
        _Machine.stack_global: "STACK_GLOBAL",
        _Machine.call: "REDUCE NEWOBJ",
        _Machine.build: "BUILD",
        _Machine.persistent: "BINPERSID",
    }
    by_name = {name: method for method, names in methods.items() for name in names.split()}
    table = {}
    for opcode in pickletools.opcodes:
        if opcode.name in by_name:
            reader = readers.get(opcode.name)
            if reader is None and opcode.arg is not None:
                reader = opcode.arg.reader
            table[opcode.code.encode("latin1")] = reader, by_name[opcode.name]
    return table


_STEPS = _table(READERS)
_STEPS_WITH_SPANS = _table({**READERS, **SPAN_READERS})
