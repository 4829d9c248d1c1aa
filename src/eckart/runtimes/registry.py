"""What a runtime must provide, and the table of the registered ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from torch import nn

from eckart.errors import InputError
from eckart.runtimes.ladders import Ladder

Run = Callable[[], object]
"""One forward pass, finished when it returns."""


@dataclass(frozen=True)
class Runtime:
    """A place where networks run.

    Attributes:
        name: in the registry.
        prepare: ``prepare(model, inputs, threads)`` makes a network ready for these inputs; the
            result is called without arguments for one forward pass. It leaves the network as it is.
        ladder: ``ladder(ladder, threads)`` does the same for copies of one piece.
        packages: modules that it needs; their versions are recorded.
        extra: the optional dependency of eckart that installs them.
        fuses: whether norms and activations run as part of the layer before, at no cost.
        rounds: whether it has kernels for layers whose weights and activations have 8 bits.
        as_given: like ``prepare``, but for a network that is to run as it is given, with its
            wrappers; None prepares it.
        clock: seconds, when it has a clock of its own; None takes that of ``clock_of``.
    """

    name: str
    prepare: Callable[[nn.Module, Any, int], Run]
    ladder: Callable[[Ladder, int], Run]
    packages: tuple[str, ...] = ("torch",)
    extra: str = ""
    fuses: bool = False
    rounds: bool = False
    as_given: Callable[[nn.Module, Any, int], Run] | None = None
    clock: Callable[[], float] | None = None


RUNTIMES: dict[str, Runtime] = {}


def register_runtime(runtime: Runtime) -> None:
    """Make a runtime known; it replaces an earlier one of the same name."""
    RUNTIMES[runtime.name] = runtime


def runtime_named(name: str) -> Runtime:
    """The runtime of that name, whose packages can be imported.

    Raises:
        InputError: it is unknown, or not installed; the message says what to install.
    """
    if name not in RUNTIMES:
        raise InputError(f"unknown runtime {name!r}; known: {', '.join(sorted(RUNTIMES))}")
    runtime = RUNTIMES[name]
    for package in runtime.packages:
        try:
            import_module(package)
        except ImportError as error:
            raise InputError(
                f"the runtime {name!r} needs the package {package!r}, which cannot be imported "
                f"({error!s:.80}): pip install 'eckart[{runtime.extra}]'"
            ) from error
    return runtime


def versions_of(runtime: Runtime) -> dict[str, str]:
    """The versions of the packages that a runtime needs."""
    return {package: _version(package) for package in runtime.packages}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # it is on the path without being installed
        return "unknown"
