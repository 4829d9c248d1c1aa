"""A cost from outside."""

from eckart.costs import Cost
from eckart.records import Form, LayerSpec


def widest(spec: LayerSpec, form: Form) -> int:
    return max(piece.outputs for piece in form.pieces)


WIDTHS = Cost("widths", "channels", widest)
