"""Reports of jsonargparse in our own words: one line, what is wrong, what may stand there."""

import ast
import re
from pathlib import Path

from qdgs_lightning.errors import did_you_mean

KEY = re.compile(r'Parser key "([^"]+)"[^:]*:')
"""How a report begins that is about the value of a key."""

_LITERAL = re.compile(r"typing\.Literal(\[[^\]]*\])")
_VALUE = re.compile(r"(?:Got value|Given value): (.+?)\.?$", re.MULTILINE)
_CALLABLE = re.compile(
    r"^(?:- Expected a path .*? - )?Type typing\.Callable\[.*?\] expects a function or a callable "
    r"class: (.+)\. Got value: (.+)$"
)
_NO_MODULE = re.compile(r"class_path '([^']+)': No module named '([^']+)'")


def one_line(message: str) -> str:
    """Strip a report, of a union of types perhaps, down to the complaint that matters."""
    key = KEY.match(message)
    where = f"{key[1]}: " if key else ""
    bullets = re.findall(r"^ {4}- (.+(?:\n {6,}\S.*)*)", message, flags=re.MULTILINE)
    told = [b for b in bullets if "NoneType" not in b and "\n      Subclass types" not in b]
    text = told[0] if told else message[key.end() :] if key else message
    if choices := _choices(message, told or [text]):
        return where + choices
    text = re.sub(r"<class '([^']+)'>", r"\1", " ".join(text.split()))
    text = re.sub(r"^- Expected a path .*? - (?=Expected a dot)", "", text)  # a class in a file
    text = re.sub(r"Expected an? (\S+)\. Got value: (.+)$", r"expected \1, not '\2'", text)
    if (value := _VALUE.search(message)) and re.fullmatch(r"Expected an? \S+", text):
        text = f"{text.replace('Expected a', 'expected a')}, not '{value[1]}'"
    text = re.sub(r"^Expected a dot import path string: (\S+)$", r"there is no class '\1'", text)
    text = _CALLABLE.sub(r"Problem with given class_path '\2': \1", text)
    return where + text.rstrip(".")


def missing_module(text: str) -> str:
    """Say where modules are looked for, if a class is named whose module is not found.

    Returns:
        What to add to the complaint; nothing where it is of something else.
    """
    found = _NO_MODULE.search(text)
    if found is None or "PYTHONPATH" in text:
        return ""
    root, here = found[2].partition(".")[0], Path.cwd()
    if root != found[1].partition(".")[0]:  # the module is there, and what it imports is not
        return ""
    if (here / root).is_dir() or (here / f"{root}.py").is_file():
        return f" (it lies in {here}, where Python does not look: write PYTHONPATH=. before qdgs)"
    return (
        f" (nor is there {root}.py or {root}/ in {here}: install it, or name the folder that holds "
        "it in PYTHONPATH)"
    )


def _choices(message: str, told: list[str]) -> str:
    """Say what may stand there where it is one word of several."""
    if not any(each.strip().startswith("Expected a typing.Literal") for each in told):
        return ""
    value = _VALUE.search(message)
    words = [word for group in _LITERAL.findall(message) for word in ast.literal_eval(group)]
    names = list(dict.fromkeys(map(str, words)))
    given = value[1] if value else ""
    return f"'{given}' is none of its values{did_you_mean(given, names)}; give {', '.join(names)}"
