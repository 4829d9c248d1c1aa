"""Which columns to keep: refits, the losses of an order, and backward elimination."""

from eckart.linalg.elimination.backward import Removals, backward_elimination, backward_removals
from eckart.linalg.elimination.refitting import Reader, nested_removal_losses, refit

__all__ = [
    "Reader",
    "Removals",
    "backward_elimination",
    "backward_removals",
    "nested_removal_losses",
    "refit",
]
