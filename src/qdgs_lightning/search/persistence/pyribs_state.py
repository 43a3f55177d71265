"""The state of pyribs objects as nested dicts of tensors and JSON types, without pickle.

pyribs offers pickling only, which runs code on loading and holds arrays as long as the grid. This
walk over the attributes is strict instead: what it does not know how to keep exactly, it refuses.
"""

from typing import Any

import numpy as np
import torch
from ribs.archives import ArchiveBase
from ribs.schedulers import Scheduler

Shared = tuple[ArchiveBase, ...]
_KNOWN_MODULES = ("ribs.", "qdgs_lightning.search.")


def capture(value: object, shared: Shared = ()) -> Any:  # noqa: ANN401 (a tree of several types)
    """Describe a value by tensors and JSON types.

    Args:
        value: Plain Python and numpy values, random generators, and pyribs objects or ours made of
            these. An object with a ``state_dict`` method describes itself.
        shared: Archives that are kept elsewhere, and left out wherever an attribute refers to one.

    Returns:
        Nested dicts and lists of tensors, str, int, float, bool and None. Tensors that come from
        a ``state_dict`` may share memory with the object.

    Raises:
        TypeError: The value holds something of another type.
    """
    match value:
        case None | bool() | int() | float() | str() if type(value).__module__ == "builtins":
            return value
        case np.ndarray():
            return torch.from_numpy(value.copy())
        case np.generic():  # the type decides how later arithmetic rounds, so it is kept
            return {"$scalar": torch.from_numpy(np.array(value))}
        case np.dtype() | type():
            return {"$dtype": np.dtype(value).name}
        case np.random.Generator():
            return {"$numpy_generator": value.bit_generator.state}
        case torch.Generator():
            return {"$torch_generator": value.get_state()}
        case list():
            return [capture(item, shared) for item in value]
        case tuple():
            return {"$tuple": [capture(item, shared) for item in value]}
        case dict() if all(isinstance(key, str) for key in value):
            return {"$dict": {key: capture(item, shared) for key, item in value.items()}}
    if not type(value).__module__.startswith(_KNOWN_MODULES) or not hasattr(value, "__dict__"):
        raise TypeError(f"No exact state is known for {_name(value)}.")
    if hasattr(value, "state_dict"):
        return {"$object": _name(value), "state": value.state_dict()}
    return {
        "$object": _name(value),
        "attributes": {
            name: capture(item, shared)
            for name, item in vars(value).items()
            if not any(item is archive for archive in shared)
        },
    }


def restore(current: Any, state: Any) -> Any:  # noqa: ANN401 (a tree of several types)
    """Return the value that `capture` described.

    Args:
        current: The value in a newly made object, built like the one that was captured. Objects
            and random generators are brought into the captured state in place.
        state: What `capture` returned, perhaps by way of a file.

    Raises:
        TypeError: `current` is of another class than the one that was captured, or has attributes
            that the state lacks.
    """
    match state:
        case torch.Tensor():
            return state.numpy().copy()
        case {"$scalar": scalar}:
            return scalar.numpy()[()]
        case {"$dtype": _}:
            return current
        case {"$numpy_generator": generator_state} if isinstance(current, np.random.Generator):
            current.bit_generator.state = generator_state
            return current
        case {"$torch_generator": generator_state} if isinstance(current, torch.Generator):
            current.set_state(generator_state)
            return current
        case list():
            return [restore(None, item) for item in state]
        case {"$tuple": items}:
            return tuple(restore(None, item) for item in items)
        case {"$dict": dict() as items}:
            return {key: restore(None, item) for key, item in items.items()}
        case {"$object": str(name), "state": own_state} if _is_of(current, name):
            current.load_state_dict(own_state)
            return current
        case {"$object": str(name), "attributes": dict() as attributes} if _is_of(current, name):
            shared = {key for key, item in vars(current).items() if isinstance(item, ArchiveBase)}
            if missing := vars(current).keys() - attributes.keys() - shared:
                raise TypeError(f"A state of {name} lacks {', '.join(sorted(missing))}.")
            for key, item in attributes.items():
                vars(current)[key] = restore(vars(current).get(key), item)
            return current
        case dict():  # an object or a generator where `current` holds something else
            raise TypeError(f"A state of another class does not fit {_name(current)}.")
    return state


def capture_scheduler(scheduler: Scheduler) -> dict[str, Any]:
    """Describe what lasts from one iteration to the next: archives and emitters.

    Args:
        scheduler: Between a tell and the next ask.

    Returns:
        A tree like that of `capture`, whose archive rows share memory with the archives.
    """
    archives = archives_of(scheduler)
    return {
        "archives": [capture(archive) for archive in archives],
        "emitters": [capture(emitter, shared=archives) for emitter in scheduler.emitters],
    }


def restore_scheduler(scheduler: Scheduler, state: dict[str, Any]) -> None:
    """Bring a newly made scheduler into the state that `capture_scheduler` described."""
    for archive, archive_state in zip(archives_of(scheduler), state["archives"], strict=True):
        restore(archive, archive_state)
    for emitter, emitter_state in zip(scheduler.emitters, state["emitters"], strict=True):
        restore(emitter, emitter_state)


def archives_of(scheduler: Scheduler) -> Shared:
    """Return a scheduler's archives: the one for elites last, and once if it is the only one."""
    if scheduler.archive is scheduler.result_archive:
        return (scheduler.archive,)
    return (scheduler.archive, scheduler.result_archive)


def copied(state: Any) -> Any:  # noqa: ANN401 (a tree of several types)
    """Return the same tree with tensors that share no memory with any other."""
    match state:
        case torch.Tensor():
            return state.clone()
        case dict():
            return {key: copied(item) for key, item in state.items()}
        case list():
            return [copied(item) for item in state]
    return state


def _name(value: object) -> str:
    """Return the full name of a value's class; the module of our own is left out, for it moves."""
    module = type(value).__module__
    home = "qdgs_lightning" if module.startswith("qdgs_lightning.") else module
    return f"{home}.{type(value).__qualname__}"


def _is_of(value: object, name: str) -> bool:
    """Whether a value is of the class of a name, with or without the module of one of ours."""
    if name.startswith("qdgs_lightning."):
        name = f"qdgs_lightning.{name.rpartition('.')[2]}"
    return name == _name(value)
