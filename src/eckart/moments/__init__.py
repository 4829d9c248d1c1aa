"""The second moments of every layer: the noun, its file, and how it is summed."""

from eckart.moments.record import Moments

__all__ = [
    "Moments",
]
