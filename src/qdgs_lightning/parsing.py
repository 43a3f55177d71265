"""Arguments and YAML in; values, or one sentence that says what is misspelt, out."""

import inspect
import re
import sys
from typing import Any, NoReturn

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from qdgs_lightning.errors import ConfigError, did_you_mean

_UNKNOWN_KEY = re.compile(r"ption '([^']+)'")
_UNKNOWN_CHOICE = re.compile(r"invalid choice: '([^']+)' \(choose from (.+)\)")
_UNKNOWN_CLASS = re.compile(
    r"given class_path '([^']+)'|dot import path string: (\S+)|Import path (\S+) does not"
)


class Parser(LightningArgumentParser):
    """A parser whose every complaint is one sentence, with the likely spelling where it knows one.

    Lightning and jsonargparse make their sub-parsers, down to those of the classes named in YAML,
    of the same class as the outermost one, so that all of them know their own keys.
    """

    def validate(self, namespace: Namespace, *args: Any, **kwargs: Any) -> None:
        """Check values as jsonargparse does, and say which known key an unknown one resembles."""
        try:
            super().validate(namespace, *args, **kwargs)
        except KeyError as error:
            text = str(error.args[0])
            unknown = _UNKNOWN_KEY.search(text)
            if unknown and "did you mean" not in text:
                known = getattr(error, "subcommand_parser", self)
                error.args = (text + did_you_mean(unknown[1], _keys(known)),)
            raise

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
            hint = did_you_mean(path, _class_names(path))
        elif "arguments are required" in message:
            hint = " (name a YAML file that has them with --config)"
        raise ConfigError(f"{_one_line(message)}{hint}.") from ex


def _keys(parser: LightningArgumentParser) -> list[str]:
    """All keys that a parser takes; a class also takes the two words that name and fill it."""
    hidden = ("help", "subcommand", "print_config")
    keys = [action.dest for action in parser._actions if action.dest not in hidden]
    return [*keys, "class_path", "init_args"]


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


def _one_line(message: str) -> str:
    """Strip jsonargparse's report of a union of types down to the complaint that matters."""
    key = re.match(r'Parser key "([^"]+)":', message)
    where = f"{key[1]}: " if key else ""
    bullets = re.findall(r"^ {4}- (.+(?:\n {6,}\S.*)*)", message, flags=re.MULTILINE)
    told = [b for b in bullets if "NoneType" not in b and "\n      Subclass types" not in b]
    text = told[0] if told else message[key.end() :] if key else message
    text = re.sub(r"<class '([^']+)'>", r"\1", " ".join(text.split()))
    text = re.sub(r"Expected an? (\S+)\. Got value: (.+)$", r"expected \1, not '\2'", text)
    text = re.sub(r"^Expected a dot import path string: (\S+)$", r"there is no class '\1'", text)
    return where + text.rstrip(".")
