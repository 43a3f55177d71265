"""Reading pickles without executing anything: an interpreter of the opcodes that build data.

`pickle.Unpickler` imports and calls whatever a file names, and its subclasses must forbid this one
attack at a time. Here nothing is imported at all: a global is a pair of strings, and a call of it
looks that pair up in a table of functions of this package. Numbers that a file makes up allocate
nothing, since what is read is never longer than the file; and what it does over and over again
comes out of a budget, since a pickle can call a function on the same megabyte a thousand times.
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from mmap import mmap
from typing import IO, Any, cast

Call = Callable[..., Any]
Name = tuple[str, str]

# Official files have some ten thousand.
_MAX_OPCODES = 200_000
_MAX_DEPTH = 10_000  # of the stack; official files need some hundred
_MAX_KEY = 2**31  # larger ones can be chosen to collide in a dict, all of them


class PickleError(ValueError):
    """A pickle that is damaged, or that asks for more than data."""


@dataclass(frozen=True)
class Global:
    """What a pickle wants imported; nobody does."""

    module: str
    name: str


class Budget:
    """What reading one file may cost, in bytes handled; pickles within it draw on the same budget.

    Args:
        size: Bytes of the file. Official ones handle each byte three times at most.
    """

    def __init__(self, size: int) -> None:
        self._left = 2**26 + 4 * size

    def spend(self, cost: int) -> None:
        """Take from the budget.

        Raises:
            PickleError: It is used up.
        """
        self._left -= cost
        if self._left < 0:
            raise PickleError("it takes more work than any checkpoint")


class _Mark:
    """Stands in the stack where a group begins."""


def load(
    file: IO[bytes] | mmap,
    *,
    budget: Budget,
    calls: Mapping[Name, Call],
    names: frozenset[Name] = frozenset(),
    persistent: Call | None = None,
) -> Any:  # noqa: ANN401 (whatever the pickle holds)
    """Read one pickle of protocol 2 to 5; the file is left behind its end.

    Args:
        file: Where from, in memory or mapped into it: such a file never reads beyond its end,
            whatever length a pickle claims.
        budget: What the file may cost.
        calls: What stands in for each (module, name) that may be called; instances of classes are
            made by them as well. A result with a method ``build`` takes the state that a pickle
            has for it.
        names: Further globals that may occur, but not be called.
        persistent: Makes objects of persistent ids; None refuses them.

    Returns:
        None, numbers, strings, bytes, tuples, lists, dicts, sets, `Global` and what `calls` made.

    Raises:
        PickleError: The pickle is damaged, or names anything else.
    """
    machine = _Machine(budget, calls, names, persistent)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(cast(IO[bytes], file))):
            if count > _MAX_OPCODES or len(machine.stack) > _MAX_DEPTH:
                raise PickleError("it is larger than any checkpoint")
            if opcode.name == "STOP":
                return machine.pop()
            machine.step(opcode.name, argument)
    except PickleError:
        raise
    except MemoryError as error:
        raise PickleError("it wants more memory than there is") from error
    # What pickletools and the functions of `calls` raise when they are given nonsense.
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise PickleError(f"it is damaged: {error}") from error
    raise PickleError("it ends too early")


class _Machine:
    """The stack and the memo of a pickle that is being read."""

    def __init__(
        self,
        budget: Budget,
        calls: Mapping[Name, Call],
        names: frozenset[Name],
        persistent: Call | None,
    ) -> None:
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._budget = budget
        self._calls = calls
        self._names = names
        self._persistent = persistent

    def pop(self) -> Any:  # noqa: ANN401
        """Take the top of the stack."""
        value = self.stack.pop()
        if isinstance(value, _Mark):
            raise PickleError("it is damaged: a group that nobody wanted")
        return value

    def step(self, opcode: str, argument: Any) -> None:  # noqa: ANN401
        """Do what one opcode says."""
        stack = self.stack
        match opcode:
            case "PROTO":
                if not 2 <= argument <= 5:
                    raise PickleError(f"its protocol is {argument}, which is none of 2 to 5")
            case "FRAME":
                pass
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode])
            case (
                "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT"
                | "BINUNICODE" | "SHORT_BINUNICODE" | "BINUNICODE8"
                | "BINBYTES" | "SHORT_BINBYTES" | "BINBYTES8"
            ):  # fmt: skip
                stack.append(argument)
            case "MARK":
                stack.append(_Mark())
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE" | "EMPTY_SET":
                kinds = {"DICT": dict, "LIST": list, "TUPLE": tuple, "SET": set}
                stack.append(kinds[opcode.removeprefix("EMPTY_")]())
            case "TUPLE":
                stack.append(tuple(self._group()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                items = [self.pop() for _ in range(int(opcode[-1]))]
                stack.append(tuple(reversed(items)))
            case "APPEND" | "APPENDS":
                items = self._group() if opcode == "APPENDS" else [self.pop()]
                self._top(list).extend(items)
            case "ADDITEMS":
                items = self._group()
                self._top(set).update(map(_key, items))
            case "SETITEM" | "SETITEMS":
                items = self._group() if opcode == "SETITEMS" else [self.pop(), self.pop()][::-1]
                self._top(dict).update(zip(map(_key, items[::2]), items[1::2], strict=True))
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "GLOBAL":
                stack.append(self._global(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                name, module = self.pop(), self.pop()
                stack.append(self._global(module, name))
            case "REDUCE" | "NEWOBJ":
                arguments, function = self.pop(), self.pop()
                stack.append(self._call(function, arguments))
            case "BUILD":
                state = self.pop()
                # Attributes of a dict, such as the versions that torch notes, say nothing here.
                if type(stack[-1]) is not dict:
                    stack[-1].build(state)
            case "BINPERSID" if self._persistent is not None:
                stack.append(self._persistent(self.pop()))
            case _:
                raise PickleError(f"it holds the opcode {opcode}, which no checkpoint needs")

    def _group(self) -> list[Any]:
        """Take everything down to the last mark."""
        for index in range(len(self.stack) - 1, -1, -1):
            if isinstance(self.stack[index], _Mark):
                items = self.stack[index + 1 :]
                del self.stack[index:]
                return items
        raise PickleError("it is damaged: a group without a beginning")

    def _top(self, kind: type) -> Any:  # noqa: ANN401
        """Return the top of the stack, which must be of a kind."""
        if type(self.stack[-1]) is not kind:
            raise PickleError(f"it is damaged: {kind.__name__} expected")
        return self.stack[-1]

    def _global(self, module: object, name: object) -> Global:
        """Note what is to be imported, if it may occur at all."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleError("it is damaged: a name that is no text")
        if (module, name) not in self._calls and (module, name) not in self._names:
            raise PickleError(
                f"it asks for {module}.{name}, which no checkpoint needs and which is not imported"
            )
        return Global(module, name)

    def _call(self, function: object, arguments: object) -> Any:  # noqa: ANN401
        """Call what stands in for a global."""
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise PickleError("it is damaged: a call of what is no function")
        call = self._calls.get((function.module, function.name))
        if call is None:
            raise PickleError(f"it calls {function.module}.{function.name}")
        self._budget.spend(sum(map(_extent, arguments)))
        return call(*arguments)


def _extent(value: object) -> int:
    """Return how long a value is, the texts of a dict included."""
    if isinstance(value, dict):
        return len(value) + sum(len(text) for text in value.values() if isinstance(text, str))
    return len(value) if isinstance(value, str | bytes | list | tuple | set) else 1


def _key(key: object) -> str | int:
    """Return a key of a dict or set; hashing anything nested could overflow the stack."""
    if not isinstance(key, str) and not (isinstance(key, int) and 0 <= key < _MAX_KEY):
        raise PickleError("it is damaged: a key that is no text")
    return key


def ordered_dict(items: object = ()) -> dict[str | int, Any]:
    """Stand in for ``collections.OrderedDict``."""
    if not isinstance(items, tuple | list):
        raise PickleError("it is damaged: pairs expected")
    return {_key(key): value for key, value in items}
