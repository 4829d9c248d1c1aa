"""How wide a layer is: the channels left at its input and output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from eckart.records import ChannelGroup, Choice, Form
from eckart.records.plans import NARROWED

Ends = tuple[int, int]  # channels read and written; features for a linear layer


def ends(form: Form) -> Ends:
    """The channels that the first piece reads and the last one writes."""
    return form.pieces[0].inputs, form.pieces[-1].outputs


def is_changed(choice: Choice | None) -> bool:
    """Whether a layer was factored, narrowed, or both."""
    return choice is not None and (not choice.form.is_plain or choice.method == NARROWED)


def width_text(form: Form, dense: Form) -> str | None:
    """Channels kept out of all at input and output; None where the layer lost none.

    Example:
        >>> from eckart.records import Piece
        >>> width_text(Form((Piece(14, 30),)), Form((Piece(16, 30),)))
        '14/16 → 30'
    """
    left, whole = ends(form), ends(dense)
    if left == whole:
        return None
    return " → ".join(str(k) if k == n else f"{k}/{n}" for k, n in zip(left, whole, strict=True))


def names_text(names: Sequence[str], most: int = 3) -> str:
    """The names in one text; the first few if there are many.

    Example:
        >>> names_text(["conv1", "conv2"]), names_text(["a", "b", "c", "d", "e"], most=2)
        ('conv1, conv2', 'a, b and 3 more')
    """
    if len(names) <= most + 1:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def in_order(groups: Iterable[ChannelGroup], layers: Iterable[str]) -> list[ChannelGroup]:
    """Groups in the order of the layers that write them."""
    order = {name: place for place, name in enumerate(layers)}
    return sorted(
        groups, key=lambda group: min((order.get(n, len(order)) for n in group.writers), default=0)
    )
