"""A way to choose channels from outside."""

from collections.abc import Sequence

from eckart.methods import Reading


class FirstFirst:
    """Keeps the first channels, whatever they carry."""

    name = "first"

    def order(self, readings: Sequence[Reading]) -> list[int]:
        return list(range(len(readings[0].columns)))
