"""What travels between processes: a task on its way to another machine, a result on its way back.

A result is checked like a file. What goes to another machine is pickled, as Ray does with all that
it sends: functions, layers, the user's own methods and scores. Their code goes along where it is
not that of an installed package.
"""

from __future__ import annotations

import builtins
import json
import os
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from eckart import errors
from eckart.costs import COSTS
from eckart.errors import EckartError, InputError
from eckart.layers import LAYER_TYPES
from eckart.methods import METHODS, SELECTIONS
from eckart.methods.cache import settled
from eckart.methods.state_file import as_bytes, from_bytes
from eckart.tasks.task import Task

_REGISTRIES: tuple[dict[str, Any], ...] = (METHODS, SELECTIONS, LAYER_TYPES, COSTS)


@dataclass(frozen=True)
class Parcel:
    """A task as another machine does it.

    Attributes:
        work: makes the result, and holds all that it needs.
        title: of the task.
        registered: what was registered from outside eckart, by registry.
    """

    work: Callable[[], Any]
    title: str
    registered: tuple[Mapping[str, Any], ...]

    def done(self) -> bytes:
        """The result, as ``received`` reads it."""
        for registry, entries in zip(_REGISTRIES, self.registered, strict=True):
            registry.update(entries)
        return sent_back(self.work, self.title)


def parcel_of(task: Task, cloudpickle: Any) -> bytes:
    """A task as bytes.

    Args:
        task: to be done elsewhere.
        cloudpickle: the module, which pickles functions and classes too.

    Raises:
        InputError: something in it does not pickle.
    """
    try:
        own = tuple({k: v for k, v in table.items() if _own(v)} for table in _REGISTRIES)
        work = task.sent() if task.sent else task.work
        with _with_code(cloudpickle):
            parcel: bytes = cloudpickle.dumps(Parcel(work, task.title, own))
    except EckartError:
        raise
    except Exception as error:  # whatever the user's own objects raise
        raise InputError(
            f"{task.title or 'a task'} cannot be sent to other machines ({error!s:.150}): layers, "
            "networks and scores are pickled; leave out what does not pickle, such as open files "
            "and locks, or give a number of workers, which are copies of this process"
        ) from error
    return parcel


@contextmanager
def _with_code(cloudpickle: Any) -> Iterator[None]:
    """Pickle the code of modules that other machines may not have, and not only their names."""
    installed, known = tuple(sysconfig.get_paths().values()), list(sys.modules.items())
    own = [module for name, module in known if _is_own(name, module, installed)]
    for module in own:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in own:
            cloudpickle.unregister_pickle_by_value(module)


def _is_own(name: str, module: Any, installed: tuple[str, ...]) -> bool:
    """Whether a module is neither eckart's nor in a folder of installed packages."""
    file = vars(module).get("__file__") or ""
    named = vars(module).get("__name__") == name and name.partition(".")[0] != "eckart"
    return named and os.path.isabs(file) and not file.startswith(installed)


def _own(entry: Any) -> bool:
    """Whether the user registered it: other machines only know what eckart registers itself."""
    made = getattr(entry, "of", entry)  # a cost is a record with a function
    module = getattr(made, "__module__", type(made).__module__)
    return not str(module).startswith("eckart.")


def sent_back(work: Callable[[], Any], title: str) -> bytes:
    """The result of some work under a title, and the warnings that it gave."""
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        state = as_bytes(settled(work()), title)
    noted = json.dumps([[w.category.__name__, str(w.message)] for w in given]).encode()
    return len(noted).to_bytes(8, "little") + noted + state


def received(data: bytes, task: Task) -> Any:
    """The result in what ``sent_back`` gave; its warnings are given here."""
    end = 8 + int.from_bytes(data[:8], "little")
    for name, message in json.loads(data[8:end]):
        warnings.warn(message, _category(name), stacklevel=2)
    return from_bytes(data[end:], task.kind, task.title, task.device)


def _category(name: str) -> type[Warning]:
    """The class of a warning: one of ours, or of Python's; else what all have in common."""
    found = getattr(errors, name, None) or getattr(builtins, name, None)
    if isinstance(found, type) and issubclass(found, Warning):
        return found
    return UserWarning


def versions() -> dict[str, str]:
    """What results depend on besides inputs: versions of packages, without how they were built."""
    found = {}
    for name in ("eckart", "torch"):
        try:
            found[name] = version(name).partition("+")[0]
        except PackageNotFoundError:  # run from its sources
            continue
    return found
