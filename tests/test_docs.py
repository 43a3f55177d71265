"""The documentation names commands, options, files, pages and figures that are there."""

import argparse
import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import yaml

from qdgs_lightning.cli.main import PLAIN_COMMANDS, TRAINER_COMMANDS
from qdgs_lightning.parsing.parser import Parser
from qdgs_lightning.parsing.rooms import import_rooms
from qdgs_lightning.parsing.shipped_configs import find_config, shipped_configs
from qdgs_lightning.parsing.words import nameable, spell_out
from qdgs_lightning.trainer.trainer_cli import TrainerCLI

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
OURS = sorted(DOCS.glob("*.md"))
PAGES = [ROOT / "README.md", *OURS, *sorted(DOCS.glob("results/*.md"))]
COMMANDS = {**TRAINER_COMMANDS, **PLAIN_COMMANDS}
FAMILIES = {name.partition(" ")[0] for name in COMMANDS if " " in name}
# What a shell, Docker or torch puts before the words of a command.
STARTS = re.compile(
    r"(?:^|[\s`/])(?:qdgs|cpu|-m qdgs_lightning)[ \t]+(?=[a-z-])(?P<words>(?:(?!&&)[^`\n])*)",
    re.MULTILINE,
)
FENCES = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^(?: {4}|\t).*\n)+", re.MULTILINE)
SHELL = ("bash", "sh", "console")
NAMES = {config.name for config in shipped_configs()}
TRIED = {"--config", "--ckpt_path"}


class StoppedError(Exception):
    """Carries a parser out of the command that made it."""

    def __init__(self, parser: Parser) -> None:
        self.parser = parser


class OnlyParser(TrainerCLI):
    """Makes the parser of `qdgs fit`, and stops there."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Leave out those whose options are a part of these."""
        return {"fit": TrainerCLI.subcommands()["fit"]}

    def parse_arguments(self, parser: Any, args: Any) -> None:  # noqa: ANN401 (Lightning's)
        """Hand the parser over."""
        raise StoppedError(parser)


def shell_text(page: Path) -> str:
    """What a page tells people to type: indented blocks and fences of a shell, lines joined."""
    text = page.read_text()
    fences = "\n".join(body for kind, _, body in FENCES.findall(text) if kind in SHELL)
    blocks = "\n".join(INDENTED.findall(FENCES.sub("", text)))
    return re.sub(r"\\\n\s*", " ", f"{fences}\n{blocks}")


def words_of(text: str) -> Iterator[list[str]]:
    """The words behind each `qdgs` in a text that people may copy."""
    for found in STARTS.finditer(text):
        line = re.split(r"\s(?:&&|\||>|#)\s?|\s*\"\$@\"", found["words"])[0]
        yield shlex.split(line, comments=True)


def lines_of(page: Path) -> list[list[str]]:
    return list(words_of(shell_text(page)))


def unique(lines: list[list[str]]) -> list[list[str]]:
    return [list(words) for words in dict.fromkeys(map(tuple, lines))]


def mentions_of(page: Path) -> list[list[str]]:
    """Commands within sentences and tables, which may stop after their name."""
    text = FENCES.sub("", page.read_text())
    spans = re.findall(r"`(qdgs [^`]+)`", INDENTED.sub("", text))
    return [words for span in spans for words in words_of(" ".join(span.split()))]


def split(words: list[str]) -> tuple[str, list[str]]:
    """Tell a command of one or two words from its options."""
    number = 2 if words[0] in FAMILIES else 1
    return " ".join(words[:number]), words[number:]


def options_of(words: list[str]) -> list[str]:
    return [word.partition("=")[0] for word in words if word.startswith("--")]


@pytest.fixture(scope="module")
def trainer_parser() -> Parser:
    """What parses the options of `qdgs fit`; made once, for it takes seconds."""
    import_rooms()
    with pytest.raises(StoppedError) as stopped:
        OnlyParser(["fit"])
    return stopped.value.parser


def function_of(command: str) -> FunctionType:
    name = command.replace("-", "_").replace(" ", "_")
    function = getattr(import_module(f"qdgs_lightning.cli.commands.{name}"), name)
    assert isinstance(function, FunctionType)
    return function


def function_parser(command: str) -> Parser:
    """What parses the options of any other command, as `qdgs` makes it."""
    parser = Parser(prog=f"qdgs {command}", allow_abbrev=False, exit_on_error=False)
    parser.add_argument("-c", "--config", action="config")
    parser.add_function_arguments(function_of(command), as_group=False, sub_configs=True)
    return parser


def is_placeholder(word: str) -> bool:
    """Whether readers put a path of their own in its place."""
    return bool(re.match(r"(RUN\b|X\.|FILE$|\.\.\.$|PATH)", word))


def configuration_of(run: str) -> str:
    """A configuration that stands for that of any run."""
    return "configs/shapes_qd.yaml" if run == "RUN/config.yaml" else run


def shipped(options: list[str]) -> bool:
    """Whether all configurations are our own, with which the tests of configurations train."""
    given = [value for name, value in pairwise(options) if name == "--config"]
    return all((ROOT / name).is_file() or name in NAMES for name in given)


def parse(words: list[str], trainer: Parser) -> None:
    """Parse the words of a command as it would itself; nothing is made or opened.

    Raises:
        Exception: jsonargparse's, about options and values that it does not know.
    """
    command, options = split([configuration_of(word) for word in words])
    if "--help" in options or options == []:
        return
    if command == "doctor":
        own = argparse.ArgumentParser(allow_abbrev=False)
        own.add_argument("--probe_seconds", type=float)
        own.add_argument("--json")
        options = own.parse_known_args(options)[1]
        options = options[options[0] in ("fit", "test", "search") :]
        first = yaml.safe_load(find_config(options[1]).read_text())
        command = "fit" if "model" in first else "search"
    if command in TRAINER_COMMANDS:
        if not (set(options_of(options)) <= TRIED and shipped(options)):
            trainer.parse_args(["fit", *options])
    else:
        options = spell_out(options, nameable(function_of(command)))
        function_parser(command).parse_args(options)


def test_there_is_something_to_look_at() -> None:
    """Lest the patterns below find nothing, and all is well."""
    assert len(OURS) >= 11
    found = {split(words)[0] for page in OURS for words in lines_of(page)}
    assert {"fit", "test", "search", "audit", "export", "doctor", "data pack"} <= found
    line = 'srun qdgs fit --config a.yaml --config b.yaml "$@"\nqdgs doctor --x 1 && qdgs fit --y 2'
    assert list(words_of(line)) == [
        ["fit", "--config", "a.yaml", "--config", "b.yaml"],
        ["doctor", "--x", "1"],
        ["fit", "--y", "2"],
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_configurations_exist(page: Path) -> None:
    for words in lines_of(page) + mentions_of(page):
        command, _ = split(words)
        known = command in COMMANDS or words[0] in FAMILIES or words[0].startswith("-")
        assert known or words[0] == "COMMAND", f"{page.name}: qdgs {' '.join(words)}"
    for name in re.findall(r"\bconfigs/\w+\.yaml", page.read_text()):
        assert (ROOT / name).is_file(), f"{page.name} names {name}"


@pytest.mark.parametrize("page", [ROOT / "README.md", *OURS], ids=lambda page: page.name)
def test_commands_can_be_parsed(
    page: Path, tmp_path: Path, trainer_parser: Parser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the YAML files and modules that pages tell people to write."""
    for each in OURS:
        for _, name, body in FENCES.findall(each.read_text()):
            if name.endswith((".yaml", ".py")):
                (tmp_path / name).write_text(body)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for words in unique(lines_of(page)):
        given = [b for a, b in pairwise(words) if a == "--config"]
        if any(is_placeholder(word) and word != "RUN/config.yaml" for word in given):
            continue
        try:
            parse(words, trainer_parser)
        except (SystemExit, Exception) as error:
            message = f"{page.name}: qdgs {' '.join(words)}\n{error}"
            raise AssertionError(message) from error


def test_options_in_sentences_exist(trainer_parser: Parser) -> None:
    """Those in backticks: of their command if it is named, of any otherwise.

    What lies behind `init_args` belongs to a class; examples of it were parsed above.
    """
    known = {
        command: set(function_parser(command)._option_string_actions)
        for command in PLAIN_COMMANDS
        if command != "doctor"
    }
    subcommands = trainer_parser._subcommands_action
    assert subcommands is not None
    fit = set(subcommands.choices["fit"]._option_string_actions)
    known |= dict.fromkeys(TRAINER_COMMANDS, fit | {"--ckpt_path"})
    known["doctor"] = fit | known["search"] | {"--probe_seconds", "--json"}
    anything = set().union(*known.values(), {"--help", "--print_config", "--version"})
    for page in (ROOT / "README.md", *OURS):
        text = INDENTED.sub("", FENCES.sub("", page.read_text()))
        bare = [span.split() for span in re.findall(r"`(--[^`]+)`", text)]
        named = [split(words) for words in mentions_of(page) if split(words)[0] in known]
        for command, options in [*named, *(("", words) for words in bare)]:
            for option in options_of(options):
                root = option.partition(".init_args")[0]
                fine = root in known.get(command, anything) | {"--help", "--print_config"}
                fine |= root.startswith(("--trainer.logger.", "--trainer.callbacks."))
                assert fine, f"{page.name}: {command} {option}"


def test_yaml_and_python_of_pages_are_whole() -> None:
    for page in OURS:
        for kind, _, body in FENCES.findall(page.read_text()):
            if kind == "yaml":
                assert isinstance(yaml.safe_load(body), dict), page.name
            elif kind == "python":
                compile(body, str(page), "exec")
                for room, names in re.findall(r"^from (qdgs_\S+) import (.+)$", body, re.MULTILINE):
                    module = import_module(room)
                    assert all(hasattr(module, name) for name in names.split(", ")), names


def test_architecture_names_rooms_in_the_order_of_their_layers() -> None:
    named = re.findall(r"^\| `(\w+)` \|", (DOCS / "architecture.md").read_text(), re.MULTILINE)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert named == settings["contracts"][0]["layers"][::-1]


def navigated(part: object) -> list[str]:
    """The pages of a part of the navigation."""
    match part:
        case str():
            return [part]
        case dict():
            return [page for each in part.values() for page in navigated(each)]
        case list():
            return [page for each in part for page in navigated(each)]
    raise AssertionError(part)


def test_navigation_is_complete() -> None:
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    # The tag names a function of a library that is not installed with the tests.
    text = re.sub(r"!!python/name:[\w.]+", "", (ROOT / "mkdocs.yml").read_text())
    assert sorted(navigated(yaml.safe_load(text)["nav"])) == sorted(pages)


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", FENCES.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_figures_resolve(page: Path) -> None:
    text = INDENTED.sub("", FENCES.sub("", page.read_text()))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        file = Path(os.path.normpath(page.parent / path)) if path else page
        assert file.is_file(), f"{page.name} links {target}"
        assert not anchor or anchor in anchors(file), f"{page.name} links {target}"


def test_figures_are_small_and_shown() -> None:
    shown = "".join(page.read_text() for page in OURS)
    for figure in DOCS.glob("figures/*"):
        assert figure.stat().st_size < 150_000, figure.name
        assert f"figures/{figure.name}" in shown, figure.name
