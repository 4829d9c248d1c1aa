"""What a method must do, and the tables of known methods and selections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from eckart.errors import InputError
from eckart.linalg.rounding import Rounded
from eckart.methods.problem import Problem
from eckart.methods.selection import Selection
from eckart.network.third_party import is_pretrained
from eckart.records import Form, Piece
from eckart.records.budgets import MS
from eckart.records.offer import AUTO
from eckart.records.offered import ASKED, DEFAULT, ROUNDING, Offered


@runtime_checkable
class Preparing(Protocol):
    """What predicts losses from a state.

    All costly work is done once per layer, in ``prepare``. The state it returns is kept in memory
    or in a workspace. Those that prepare the same state can share it: they give it the same name in
    an attribute ``prepared_as``. Without this attribute, states are not shared.
    """

    @property
    def name(self) -> str:
        """Name in the registry."""

    @property
    def state(self) -> type[Any]:
        """The class that ``prepare`` returns: a frozen dataclass.

        Its fields are tensors, numbers, texts, tuples, and dataclasses of these.
        """

    def prepare(self, problem: Problem) -> Any:
        """Everything that its other functions need, with as few decompositions as possible."""

    def losses(self, state: Any) -> list[tuple[Form, float]]:
        """Every form with its predicted loss."""


@runtime_checkable
class Method(Preparing, Protocol):
    """A way to make a layer smaller: the loss of every size, and how to build one of them.

    ``losses`` and ``build`` decompose nothing, because ``prepare`` has done it.
    """

    def applies(self, piece: Piece) -> bool:
        """Whether the method has anything to offer for a layer of these shapes."""

    def build(self, state: Any, form: Form) -> Sequence[Tensor]:
        """The weights of a form's pieces, each in its piece's ``weight_shape``."""


Weight = Tensor | Rounded
DEFAULT_METHODS = ("weighted_svd", "cp", "spatial", ROUNDING, "backward_elimination")
TRANSFORMER_METHODS = ("pivoted_svd", ROUNDING, "backward_elimination")
TIMED_METHODS = ("tucker2",)
"""Defaults where milliseconds are limited: at equal time they lose less, at equal size more."""
METHODS: dict[str, Method] = {}
SELECTIONS: dict[str, Selection] = {}
ONLY_FOR: dict[str, tuple[str, ...]] = {ROUNDING: ("bytes",)}
"""The costs that a name pays for, where these are not all; as a default it is for no others."""


def register_method(method: Method, *, only_for: Iterable[str] = ()) -> None:
    """Make a method known; it replaces an earlier one of the same name.

    Args:
        method: what ``methods=`` may name.
        only_for: the costs that it pays for; none stands for all. As a default it is left out of
            budgets that limit others.
    """
    METHODS[method.name] = method
    ONLY_FOR.pop(method.name, None)
    if pays := tuple(only_for):
        ONLY_FOR[method.name] = pays


def register_selection(selection: Selection) -> None:
    """Make a way to choose channels known; it replaces an earlier one of the same name."""
    SELECTIONS[selection.name] = selection


def checked_names(names: str | Iterable[str]) -> list[str]:
    """The names as a list, read once.

    Raises:
        InputError: an unknown name, or two ways to choose channels at once.
    """
    wanted = _known(names)
    selection_named(wanted)
    return wanted


def fitting_methods(model: nn.Module, names: str | Iterable[str] = AUTO) -> list[str]:
    """The names as a list; ``"auto"`` stands for the methods that suit the network.

    Models of ``transformers`` get the low-rank method that takes the fewest weights, narrower MLPs
    and fewer heads. All other networks get low rank, CP and spatial factors of convolutions, and
    fewer channels. All get codes of few bits.
    CP is for budgets that limit nothing but weights, and codes for those that limit nothing but
    bytes, see ``offered_methods``.

    Raises:
        InputError: as ``checked_names``.
    """
    if names != AUTO:
        return checked_names(names)
    return list(TRANSFORMER_METHODS if is_pretrained(model) else DEFAULT_METHODS)


def offered_methods(
    model: nn.Module, names: str | Iterable[str] = AUTO, limits: Iterable[str] | None = None
) -> Offered:
    """The methods with the reasons, and the defaults among them that are not for every budget.

    Methods that are asked for by name are offered under every budget.

    Args:
        model: the network.
        names: as for ``fitting_methods``.
        limits: the costs that will be limited; None for any.

    Raises:
        InputError: as ``checked_names``.
    """
    known = fitting_methods(model, names)
    if names != AUTO:
        return Offered(dict.fromkeys(known, ASKED))
    only_for = {name: ONLY_FOR[name] for name in known if name in ONLY_FOR}
    offered = Offered(dict.fromkeys(known, DEFAULT), only_for=only_for)
    if limits is None:
        return offered
    limited = list(limits)
    timed = dict.fromkeys(TIMED_METHODS if MS in limited else (), f"{DEFAULT} for {MS}")
    return replace(offered, methods={**timed, **offered.methods}).under(limited)


def methods_named(names: Iterable[str]) -> list[Method]:
    """The methods among some names.

    Raises:
        InputError: an unknown name; the message lists the known ones.
    """
    return [METHODS[name] for name in _known(names) if name in METHODS]


def selection_named(names: Iterable[str]) -> Selection | None:
    """The way to choose channels among some names; None if there is none.

    Raises:
        InputError: an unknown name, or two ways at once.
    """
    found = [SELECTIONS[name] for name in _known(names) if name in SELECTIONS]
    if len(found) > 1:
        both = " and ".join(selection.name for selection in found)
        raise InputError(f"{both} both choose channels: give one of them")
    return found[0] if found else None


def _known(names: Iterable[str]) -> list[str]:
    wanted = [names] if isinstance(names, str) else list(names)
    known = sorted({ROUNDING, *METHODS, *SELECTIONS})
    for name in wanted:
        if name not in known:
            raise InputError(f"unknown method {name!r}; known: {', '.join(known)}")
    return wanted
