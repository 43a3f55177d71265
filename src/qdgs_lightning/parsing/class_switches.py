"""Another class in an overlay or on the line: its own defaults, and none of the former's arguments.

jsonargparse lets arguments of the class before carry over wherever the new one takes an argument of
the same name, drops the others, and says neither. A head's scale, an optimizer's weight decay, even
those that nobody wrote, then belong to a class that they were not meant for.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jsonargparse._typehints as typehints


@contextmanager
def former_arguments_dropped() -> Iterator[None]:
    """Let a class start from its own defaults where it takes the place of another.

    Within, arguments that stand beside the new class, in its file or after it on the line, count;
    those of the class before do not. At the end a warning names the ones that somebody had written.

    It puts a function of its own in the place of jsonargparse's for as long as the outermost parser
    parses, for jsonargparse has no setting for it.
    """
    if typehints.discard_init_args_on_class_path_change is not _original:
        yield  # an outer parser has done so
        return
    told: dict[str, None] = {}

    def drop(parser_or_action: object, former: Any, new: Any) -> None:  # noqa: ANN401 (jsonargparse's)
        """Take the arguments of the former class out, in place."""
        switched = former and "init_args" in former and former["class_path"] != new["class_path"]
        if not switched or former["class_path"] is None:  # of no class yet
            _original(parser_or_action, former, new)  # type: ignore[no-untyped-call]
            return
        arguments = former["init_args"]
        if arguments and not typehints.sub_defaults.get():  # which fills in what nobody wrote
            told[dropped(former["class_path"], new["class_path"], vars(arguments))] = None
        for name in list(vars(arguments)) if arguments else ():
            arguments.pop(name)

    typehints.discard_init_args_on_class_path_change = drop
    try:
        yield
    except SystemExit:  # after --print_config
        _warn(told)
        raise
    finally:
        typehints.discard_init_args_on_class_path_change = _original
    _warn(told)


_original = typehints.discard_init_args_on_class_path_change


def dropped(former: str, new: str, arguments: Mapping[str, Any]) -> str:
    """Say which arguments are dropped.

    Args:
        former: The class that they were written for.
        new: The class that takes its place.
        arguments: Their values by name; at least one.
    """
    *most, last = [f"{name}: {_short(value)}" for name, value in arguments.items()]
    names = f"{', '.join(most)} and {last}" if most else last
    old, own = former.rpartition(".")[2], new.rpartition(".")[2]
    return (
        f"{own} takes the place of {old}, and what was set for {old} is not handed on ({names}): "
        f"set again what {own} shall have."
    )


def _warn(told: Iterable[str]) -> None:
    """Say it once for each switch, whatever the number of times that jsonargparse merges."""
    if told:
        from lightning.pytorch.utilities import rank_zero_warn  # takes seconds to import
    for sentence in told:
        rank_zero_warn(sentence)


def _short(value: object) -> str:
    """Write a value briefly."""
    if hasattr(value, "class_path"):
        return str(value.class_path).rpartition(".")[2]
    text = str(value)
    return text if len(text) <= 40 and "Namespace(" not in text else "..."
