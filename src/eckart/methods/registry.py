"""What a method must do, and the table of those that are known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from torch import Tensor

from eckart.errors import InputError
from eckart.methods.problem import Problem
from eckart.records import Form, Piece


@runtime_checkable
class Method(Protocol):
    """A way to make a layer smaller: what every size would cost, and how one is built."""

    @property
    def name(self) -> str:
        """Name in the registry."""

    def applies(self, piece: Piece) -> bool:
        """Whether the method has anything to offer for a layer of these shapes."""

    def losses(self, problem: Problem) -> list[tuple[Form, float]]:
        """Every form with its predicted loss, from as few decompositions as can be."""

    def build(self, problem: Problem, form: Form) -> list[Tensor]:
        """The weights of a form's pieces, in their ``weight_shape``."""


METHODS: dict[str, Method] = {}


def register_method(method: Method) -> None:
    """Make a method known; a later one of the same name takes its place."""
    METHODS[method.name] = method


def methods_named(names: Iterable[str]) -> list[Method]:
    """Methods by name; an unknown name lists the known ones."""
    wanted = [names] if isinstance(names, str) else list(names)
    for name in wanted:
        if name not in METHODS:
            raise InputError(f"unknown method {name!r}; known: {', '.join(sorted(METHODS))}")
    return [METHODS[name] for name in wanted]
