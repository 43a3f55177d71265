"""Arguments and YAML in; values, or one sentence that says what is misspelt, out."""

import inspect
import re
import sys
from itertools import islice
from os import PathLike
from pathlib import Path
from traceback import walk_tb
from types import NoneType
from typing import Any, NoReturn, TypeVar, cast, get_args

import yaml
from jsonargparse import (  # type: ignore[attr-defined]
    ActionConfigFile,
    ArgumentParser,
    Namespace,
)

from qdgs_lightning.errors import ConfigError, QDGSError, did_you_mean
from qdgs_lightning.parsing.class_switches import former_arguments_dropped
from qdgs_lightning.parsing.complaints import KEY, missing_module, one_line
from qdgs_lightning.parsing.config_files import ConfigFile, syntax_error
from qdgs_lightning.parsing.saved_configs import find_saved_paths

T = TypeVar("T", bound=BaseException)

_UNKNOWN_KEY = re.compile(r"ption '([^']+)'")
_UNKNOWN_CHOICE = re.compile(r"invalid choice: '([^']+)' \(choose from (.+)\)")
_UNKNOWN_CLASS = re.compile(
    r"given class_path '([^']+)'|dot import path string: (\S+)|Import path (\S+) does not"
)
# Those that only one kind of configuration has, for files that are given to the wrong command.
_COMMAND_OF_KEY = {
    **dict.fromkeys(("model", "data", "trainer"), "qdgs fit"),
    **dict.fromkeys(("generator", "guidance", "search"), "qdgs search"),
}


class Parser(ArgumentParser):
    """A parser whose every complaint is one sentence, with the likely spelling where it knows one.

    jsonargparse makes sub-parsers, down to those of the classes named in YAML,
    of the same class as the outermost one, so that all of them know their own keys.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("config", ActionConfigFile):  # as we ask for it, and as Lightning does
            self.register("action", name, ConfigFile)

    def validate(self, namespace: Namespace, *args: Any, **kwargs: Any) -> None:
        """Check values as jsonargparse does, and say which known key an unknown one resembles."""
        try:
            super().validate(namespace, *args, **kwargs)
        except KeyError as error:
            text = str(error.args[0])
            unknown = _UNKNOWN_KEY.search(text)
            if unknown and "did you mean" not in text:
                known = _keys(getattr(error, "subcommand_parser", self))
                root = unknown[1].partition(".")[0]
                hint = did_you_mean(unknown[1], known)
                if (
                    "config" in known
                    and root in _COMMAND_OF_KEY
                    and root not in {key.partition(".")[0] for key in known}
                ):
                    hint = f" (this is a configuration of `{_COMMAND_OF_KEY[root]}`)"
                error.args = (text + hint,)
            raise
        if not kwargs.get("branch"):
            self._refuse_null(namespace, prefix=kwargs.get("_prefix", ""))

    def _refuse_null(self, namespace: Namespace, *, prefix: str) -> None:
        """Refuse null where a type does not name it; jsonargparse takes it for a value not given.

        Raises:
            TypeError: An option with a default of its own is null; its key comes first.
        """
        for action in self._actions:
            hint = getattr(action, "_typehint", None)
            given = hint is not None and action.dest in namespace
            if not given or action.default is None or namespace[action.dest] is not None:
                continue
            try:
                self._check_value_key(action, None, action.dest, namespace)
            except TypeError as error:
                name = getattr(hint, "__name__", str(hint))
                raise TypeError(
                    f'Parser key "{prefix}{action.dest}": null is no {name}; leave the option out '
                    f"for its default, {action.default}"
                ) from error
        typed = {a.dest for a in self._actions if getattr(a, "_typehint", None) is not None}
        for key in self.groups or {}:  # of the options of a nested dataclass
            if key not in typed and key in namespace and namespace[key] is None:
                raise TypeError(
                    f'Parser key "{prefix}{key}": null is no group of options; leave it out for '
                    "its defaults"
                )

    def parse_args(self, *args: Any, **kwargs: Any) -> Namespace:  # type: ignore[override]
        """Parse words as jsonargparse does, but hand nothing on from one class to another."""
        with former_arguments_dropped():
            return super().parse_args(*args, **kwargs)

    def parse_path(self, path: str | PathLike[str], *args: Any, **kwargs: Any) -> Namespace:
        """Read a YAML file; in that of a run, paths are found from any folder.

        Raises:
            ConfigError: It is no text or no YAML, or has no keys.
        """
        try:
            values = cast(Namespace, super().parse_path(path, *args, **kwargs))
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path} is no text: name a YAML file.") from error
        except ConfigError as error:
            if (broken := _cause(error, yaml.YAMLError)) is not None:
                raise syntax_error(str(path), broken) from error
            if not str(error).startswith("Unexpected config:"):
                raise
            raise ConfigError(f"{path} has no keys: write options in it, as YAML.") from error
        if Path(path).is_file():  # and not "-"
            find_saved_paths(values, Path(path))
        return values

    def instantiate(self, *args: Any, **kwargs: Any) -> Namespace:
        """Build what the values name, and say of a mistake in them to which key it belongs.

        Raises:
            QDGSError: As the class raised it that refuses a value; the key comes first.
        """
        try:
            return cast(Namespace, super().instantiate(*args, **kwargs))
        except Exception as error:
            mistake = _mistake_within(error)
            if mistake is None:
                raise
            if key := _key_of_part(error):
                joint = ".init_args." if _is_of_nested(mistake) else ": "
                mistake.args = (f"{key}{joint}{mistake}",)
        raise mistake  # here, so that the report, which it may be the cause of, is not its context

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the complaint as one sentence.

        Raises:
            ConfigError: Always.
        """
        hint = ""
        if choice := _UNKNOWN_CHOICE.search(message):
            hint = did_you_mean(choice[1], re.findall(r"[\w-]+", choice[2]))
        elif message.startswith("unrecognized arguments: "):
            unknown = message.split()[2].lstrip("-").split("=")[0]
            hint = did_you_mean(unknown, _keys(self), prefix="--")
        elif name := _UNKNOWN_CLASS.search(message):
            path = next(group for group in name.groups() if group)
            known = _class_names(path)
            if path in known and (kinds := _kinds(self, message)):
                key = KEY.match(message)
                where = f"{key[1]}: " if key else ""
                raise ConfigError(
                    f"{where}'{path}' is no {' or '.join(kinds)}: name a class that is."
                ) from ex
            hint = did_you_mean(path, known)
        elif "arguments are required" in message and "--config" not in message:
            hint = " (give them in a YAML file, by --config, or as options)"
        text = one_line(message)
        raise ConfigError(f"{text}{hint or missing_module(text)}.") from ex


def _keys(parser: ArgumentParser) -> list[str]:
    """All keys that a parser takes; a class also takes the two words that name and fill it."""
    hidden = ("help", "subcommand", "print_config")
    keys = [action.dest for action in parser._actions if action.dest not in hidden]
    return [*keys, "class_path", "init_args"]


def _cause(error: BaseException, kind: type[T]) -> T | None:
    """Find what an error was raised from."""
    cause = error.__cause__
    while cause is not None and not isinstance(cause, kind):
        cause = cause.__cause__
    return cause


def _mistake_within(error: BaseException) -> QDGSError | None:
    """Find the user's mistake behind jsonargparse's report of a union of types.

    The report is chained to what the first type says, and the others are in its frames alone.
    """
    if isinstance(error, QDGSError):
        return error
    reports = [error.__cause__]
    for frame, _ in walk_tb(error.__traceback__):
        if frame.f_code.co_name == "raise_union_unexpected_value":
            reports += frame.f_locals["exceptions"]
    found = (_mistake_within(report) for report in reports if report is not None)
    return next((mistake for mistake in found if mistake), None)


def _key_of_part(error: BaseException) -> str:
    """Name the part of its own that a parser was building, if it was: only the frames know."""
    for frame, _ in islice(walk_tb(error.__traceback__), 1, None):
        if frame.f_code is Parser.instantiate.__code__:
            break
        if frame.f_code.co_name == "instantiate_classes":  # of jsonargparse's kind of argument
            return str(frame.f_locals["self"].dest)
    return ""


def _is_of_nested(mistake: QDGSError) -> bool:
    """Whether the parser of a nested class has put the key there before the sentence."""
    frames = islice(walk_tb(mistake.__traceback__), 1, None)
    return any(frame.f_code is Parser.instantiate.__code__ for frame, _ in frames)


def _kinds(parser: ArgumentParser, message: str) -> list[str]:
    """Name the classes of which the key that a complaint is about takes subclasses."""
    key = KEY.match(message)
    actions = (action for action in parser._actions if key and action.dest == key[1])
    hint = getattr(next(actions, None), "_typehint", None)
    kinds = (kind for kind in get_args(hint) or (hint,) if kind is not NoneType)
    return [kind.__name__ for kind in kinds if inspect.isclass(kind)]


def _class_names(path: str) -> set[str]:
    """Names of all classes that ``path`` could have meant, dotted if ``path`` is."""
    package = path.partition(".")[0]
    homes = ("qdgs_lightning", "lightning.pytorch", package)
    return {
        f"{home}.{name}" if "." in path else name
        for home, module in list(sys.modules.items())
        if home.startswith(homes)
        for name, value in list(vars(module).items())
        if inspect.isclass(value) and not name.startswith("_")
    }
