"""The second moments of every layer: the record, its file, and how it is summed."""

from eckart.moments.record import Moments

__all__ = [
    "Moments",
]
