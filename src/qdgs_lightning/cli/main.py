"""The command ``qdgs``: train, test, search and compare."""

import inspect
import os
import re
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from qdgs_lightning import __version__
from qdgs_lightning.cli.closed_pipes import ending_with_reader
from qdgs_lightning.errors import ConfigError, QDGSError, did_you_mean
from qdgs_lightning.parsing.words import nameable, spell_out, with_null
from qdgs_lightning.trainer.interruptions import ended_by_terminate, line, saying_what_is_kept
from qdgs_lightning.utils.memory import keep_freed_memory

TRAINER_COMMANDS = {
    "fit": "train, as a configuration says",
    "validate": "run the validation set through a trained model",
    "test": "run the test set through a trained model and report",
    "predict": "export what a trained model makes of images, such as embeddings",
}
# `qdgs a-b` calls the function a_b of commands/a_b.py, and its signature makes the options; so does
# `qdgs a b`.
PLAIN_COMMANDS = {
    "search": "grow or continue an archive of elites",
    "export": "write an archive's images as a dataset, with a data card",
    "doctor": "say before a run what is missing, what does not fit, and how long it takes",
    "convert": "keep a StyleGAN2 checkpoint in a file that is safe and fast to load",
    "audit": "say what a set of images holds: shares of groups, with intervals",
    "data inspect": "say what a set of face images holds",
    "data verify": "decode every image of a set and name what is damaged",
    "data pack": "make a .rec file of identities, or a .bin file of pairs, out of images",
    "data unpack": "make folders of images out of a .rec or .bin file",
    "data identities": "say how well a recogniser tells the identities of a set apart",
    "configs": "list the configurations that --config finds by name",
    "configs copy": "make a copy of one that can be edited",
    "avatars-edits": "make the changes of an avatar that leave its identity alone",
    "avatars-data": "draw a biased training set of avatars, and benchmarks of groups",
    "shapes-demo": "train and test on the shapes with three samplers, and compare them",
    "avatars-table": "compare first stages on avatars over seeds: none, plain, even; resumable",
    "shapes-table": "compare biases and samplers on the shapes over many seeds; resumable",
}
# Of Lightning, about callbacks that keep a state and are two of a kind.
_TWICE = re.compile(r"more than one stateful callback of type `(\w+)`")


def main(args: Sequence[str] | None = None) -> None:
    """Run ``qdgs``.

    Args:
        args: The words after ``qdgs``; those of the process where None.

    Raises:
        SystemExit: With a non-zero status after any mistake of the user's, which is told in one
            sentence on standard error. ``QDGS_DEBUG=1`` lets the exception through instead.
    """
    words = with_null(sys.argv[1:] if args is None else args)
    keep_freed_memory()
    try:
        with ending_with_reader(), ended_by_terminate():
            _dispatch(words)
    except KeyboardInterrupt as error:
        told = str(error) or f"nothing was begun; start again with: {line(words[0], words[1:])}"
        print(f"qdgs: interrupted; {told}", file=sys.stderr)
        sys.exit(130)  # as shells have it
    except Exception as error:
        mistake = _mistake(error)
        if mistake is None or os.environ.get("QDGS_DEBUG") or os.environ.get("JSONARGPARSE_DEBUG"):
            raise
        sys.exit(f"qdgs: {_sentence(mistake)}")


def _dispatch(words: list[str]) -> None:
    """Do what the first word says; only then is anything heavy imported."""
    command, options = words[0] if words else "--help", words[1:]
    known = {**TRAINER_COMMANDS, **PLAIN_COMMANDS}
    family = {name: about for name, about in known.items() if name.startswith(f"{command} ")}
    itself = command in known and (not options or options[0].startswith("-"))
    if family and not itself:
        if not options or options[0] in ("-h", "--help"):
            print(_family_help(command, family))
            return
        known = family
        command, options = f"{command} {options[0]}", options[1:]
    if command in ("-h", "--help"):
        print(_help())
    elif command == "--version":
        print(f"qdgs-lightning {__version__}")
    elif command in TRAINER_COMMANDS:
        from qdgs_lightning.doctor.run import refuse_unready
        from qdgs_lightning.parsing.rooms import import_rooms
        from qdgs_lightning.trainer.trainer_cli import TrainerCLI

        import_rooms()
        TrainerCLI(words, preflight=refuse_unready)
    elif command == "doctor":  # its options are those of fit or search, and two of its own
        from qdgs_lightning.cli.commands.doctor import doctor
        from qdgs_lightning.parsing.rooms import import_rooms

        import_rooms()
        with saying_what_is_kept(command, options, {}):
            doctor(options)
    elif command in PLAIN_COMMANDS:
        if not command.startswith(("data ", "configs")):  # which name no classes
            from qdgs_lightning.parsing.rooms import import_rooms

            import_rooms()
        _run_function(command, options)
    else:
        before = f"{words[0]} " if family else ""
        names = [name.removeprefix(before) for name in known]
        names += [name.partition(" ")[0] for name in names]
        hint = did_you_mean(command.removeprefix(before), names, prefix=before)
        hint = ("" if command.startswith("-") else hint) or f" (it has {', '.join(known)})"
        raise ConfigError(f"there is no command '{command}'{hint}.")


def _help() -> str:
    """The overview, written here by hand so that it shows at once."""
    listing = _listing({**TRAINER_COMMANDS, **PLAIN_COMMANDS})
    return f"""usage: qdgs COMMAND [--config FILE.yaml] [--OPTION VALUE ...]

Learning fairly from synthetic data: quality-diversity generative sampling in Lightning.

commands:
{listing}

  qdgs COMMAND --help          its options
  qdgs COMMAND --print_config  its options as YAML, after all others on the line
  qdgs --version

QDGS_DEBUG=1 in the environment shows the traceback of an error."""


def _family_help(word: str, family: dict[str, str]) -> str:
    """The overview of commands that begin with the same word."""
    return f"""usage: qdgs {word} COMMAND [--OPTION VALUE ...]

commands:
{_listing({name.removeprefix(f"{word} "): about for name, about in family.items()})}

  qdgs {word} COMMAND --help  its options"""


def _listing(commands: dict[str, str]) -> str:
    """A line for each command."""
    width = max(map(len, commands)) + 1
    return "\n".join(f"  {name:<{width}}{about}" for name, about in commands.items())


def _run_function(command: str, words: list[str]) -> None:
    """Parse the words as the arguments of a command's function, and call it."""
    name = command.replace("-", "_").replace(" ", "_")
    function = getattr(import_module(f"qdgs_lightning.cli.commands.{name}"), name)
    if not words and not inspect.signature(function).parameters:
        function()
        return
    from qdgs_lightning.parsing.functions import function_parser, parse_arguments, summary_of

    summary, first = summary_of(function), nameable(function)
    words = spell_out(words, first)
    if first:
        told = " ".join(map(str.upper, first))
        summary += f" In short: qdgs {command} {told} [--OPTION VALUE ...]"
    parser = function_parser(function, prog=f"qdgs {command}", summary=summary)
    values = parse_arguments(parser, function, words)
    with saying_what_is_kept(command, words, values):
        function(**values)


def _mistake(error: BaseException) -> BaseException | None:
    """The user's mistake behind an error, if there is one.

    jsonargparse wraps what the constructors of nested classes raise.
    """
    if (refused := _refused_by_library(error)) is not None:
        return refused
    if isinstance(error, OSError) or _is_of_lightning(error):
        return error
    if "torch" in sys.modules and isinstance(error, sys.modules["torch"].OutOfMemoryError):
        return ConfigError(
            f"Memory does not hold this ({' '.join(str(error).split())[:200]}): lower "
            "`data.init_args.batch_size`, or use half precision (`trainer.precision`)."
        )
    if "wandb" in sys.modules and isinstance(error, sys.modules["wandb"].errors.CommError):
        return ConfigError(
            f"W&B cannot be reached ({' '.join(str(error).split())}): set WANDB_MODE=offline, and "
            "upload the run later by `wandb sync`."
        )
    if "torch" in sys.modules:
        from qdgs_lightning.search.processes import lost_process

        if (lost := lost_process(error)) is not None:
            return lost
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, QDGSError):
        wrapped = type(cause).__module__.partition(".")[0] in ("argparse", "jsonargparse")
        cause = cause.__cause__ or (cause.__context__ if wrapped else None)
    return cause


def _is_of_lightning(error: BaseException) -> bool:
    """Whether it is Lightning's complaint about a setting, such as a GPU that is not there."""
    if "lightning" not in sys.modules:
        return False
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    if isinstance(error, MisconfigurationException):
        return True
    # Of some settings, such as an accelerator of a name that it does not know, it says ValueError,
    # and RuntimeError of a metric that nothing logs.
    where = _where_raised(error)
    return (isinstance(error, ValueError) and where.partition(".")[0] == "lightning") or (
        isinstance(error, RuntimeError) and where == "lightning.pytorch.callbacks.early_stopping"
    )


def _refused_by_library(error: BaseException) -> ConfigError | None:
    """Say of which settings a library complains that does not name them itself."""
    where, told = _where_raised(error), " ".join(str(error).split()).rstrip(".")
    # Not the base class, which complains of parameters and not of what a configuration says.
    by_optimizer = where.startswith("torch.optim.") and where != "torch.optim.optimizer"
    if by_optimizer and isinstance(error, ValueError | ArithmeticError):
        return ConfigError(
            f"The optimizer or the scheduler refuses its arguments ({told}): correct the "
            "`init_args` of `optimizer` or `scheduler` under `model.init_args`."
        )
    twice = _TWICE.search(told)
    if twice and where == "lightning.pytorch.trainer.connectors.callback_connector":
        return ConfigError(
            f"trainer.callbacks holds {twice[1]} twice, and a checkpoint could not tell their "
            "states apart: change the one that is there, or write the whole list."
        )
    of_devices = where.startswith("lightning.") and ("accelerators" in where or "device_p" in where)
    if of_devices and isinstance(error, ValueError | TypeError):
        return ConfigError(
            f"`devices` says nothing that can be had ({told}): give a number, a list of indices "
            "such as [0,1], or auto."
        )
    return None


def _where_raised(error: BaseException) -> str:
    """Name the module whose line raised an error."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return frames[-1][0].f_globals["__name__"] if frames else ""


def _sentence(error: BaseException) -> str:
    """One sentence for people; the system's own errors get the file's name."""
    if isinstance(error, OSError) and error.strerror:
        where = f" '{Path(os.fsdecode(error.filename)).absolute()}'" if error.filename else ""
        return f"{error.strerror}{where}: choose a place that can be read and written."
    text = str(error)
    if text.startswith("Caught ") and "\nOriginal Traceback" in text:
        # In a process that loads data; the last line is "package.Error: sentence".
        text = text.splitlines()[-1].partition(": ")[2] or text
    return " ".join(text.split())
