"""What a method must do, and the tables of known methods and selections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from eckart.errors import InputError
from eckart.linalg.rounding import Rounded
from eckart.methods.problem import Problem
from eckart.methods.selection import Selection
from eckart.network.third_party import is_pretrained
from eckart.records import Form, Piece
from eckart.records.offer import AUTO
from eckart.records.offered import ASKED, DEFAULT, Offered


@runtime_checkable
class Method(Protocol):
    """A way to make a layer smaller: the loss of every size, and how to build one of them.

    All costly work is done once per layer, in ``prepare``. The state it returns is kept in memory
    or in a workspace, so ``losses`` and ``build`` decompose nothing. Methods that prepare the same
    state can share it: they give it the same name in an attribute ``prepared_as``. Without this
    attribute, a method's states are its own. A method that does not pay for every cost names those
    that it pays for in an attribute ``only_for``; as a default it is left out of other budgets. A
    method whose losses are expected ones, and not those of what it builds, says so by an attribute
    ``expected``.
    """

    @property
    def name(self) -> str:
        """Name in the registry."""

    @property
    def state(self) -> type[Any]:
        """The class that ``prepare`` returns: a frozen dataclass.

        Its fields are tensors, numbers, texts, tuples, and dataclasses of these.
        """

    def applies(self, piece: Piece) -> bool:
        """Whether the method has anything to offer for a layer of these shapes."""

    def prepare(self, problem: Problem) -> Any:
        """Everything that ``losses`` and ``build`` need, with as few decompositions as possible."""

    def losses(self, state: Any) -> list[tuple[Form, float]]:
        """Every form with its predicted loss."""

    def build(self, state: Any, form: Form) -> Sequence[Weight]:
        """The weights of a form's pieces, each in its piece's ``weight_shape``, or rounded."""


Weight = Tensor | Rounded
DEFAULT_METHODS = ("weighted_svd", "cp", "spatial", "rounding", "backward_elimination")
TRANSFORMER_METHODS = ("pivoted_svd", "rounding")
METHODS: dict[str, Method] = {}
SELECTIONS: dict[str, Selection] = {}


def register_method(method: Method) -> None:
    """Make a method known; it replaces an earlier one of the same name."""
    METHODS[method.name] = method


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

    Models of ``transformers`` keep all widths, because their ``config.json`` has one width for all
    blocks. They get the low-rank method that takes the fewest weights. All other networks get low
    rank, CP and spatial factors of convolutions, and fewer channels. All get codes of few bits.
    CP is for budgets that limit nothing but weights, and codes for those that limit nothing but
    bytes, see ``offered_methods``.

    Raises:
        InputError: as ``checked_names``.
    """
    if names != AUTO:
        return checked_names(names)
    return list(TRANSFORMER_METHODS if is_pretrained(model) else DEFAULT_METHODS)


def offered_methods(model: nn.Module, names: str | Iterable[str] = AUTO) -> Offered:
    """The methods with the reasons, and the defaults among them that are not for every budget.

    Methods that are asked for by name are offered under every budget.

    Raises:
        InputError: as ``checked_names``.
    """
    known = fitting_methods(model, names)
    if names != AUTO:
        return Offered(dict.fromkeys(known, ASKED))
    pays = {method.name: getattr(method, "only_for", ()) for method in methods_named(known)}
    only_for = {name: costs for name, costs in pays.items() if costs}
    return Offered(dict.fromkeys(known, DEFAULT), only_for=only_for)


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
    known = sorted({**METHODS, **SELECTIONS})
    for name in wanted:
        if name not in known:
            raise InputError(f"unknown method {name!r}; known: {', '.join(known)}")
    return wanted
