"""How far a layer's moments are moved towards something less noisy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Shrinkage:
    """Weights between 0 and 1, chosen from the calibration data.

    Attributes:
        a: of the diagonal in ``A``, in place of ``A`` itself.
        g: of the diagonal in ``G``.
        single: of single rows in ``A``, in place of rows that were taken jointly.
    """

    a: float
    g: float
    single: float = 0.0

    def contradiction(self) -> str | None:
        """Weights are between 0 and 1."""
        fits = all(0 <= weight <= 1 for weight in (self.a, self.g, self.single))
        return None if fits else f"its weights must be between 0 and 1, got {self}"


def said_of(shrunk: Mapping[str, Shrinkage]) -> str:
    """How far the moments of all layers are shrunk, as the end of a sentence; empty if not at all.

    Example:
        >>> said_of({"a": Shrinkage(0.02, 0.3), "b": Shrinkage(0.004, 0.11)})
        '; moments shrunk by 0.004 to 0.02 (A), 0.11 to 0.3 (G), as their batches say'
    """
    if not shrunk:
        return ""
    parts = [("A", [s.a for s in shrunk.values()]), ("G", [s.g for s in shrunk.values()])]
    said = ", ".join(f"{min(found):.2g} to {max(found):.2g} ({name})" for name, found in parts)
    return f"; moments shrunk by {said}, as their batches say"


def said_of_few(scarce: Mapping[str, str]) -> str:
    """Which losses rest on too few data, and what to do, as the end of a sentence.

    Example:
        >>> said_of_few({"fc1": "250 rows for 800 inputs"})
        '; losses rest on too few data at fc1 (250 rows for 800 inputs): calibrate on more examples'
    """
    if not scarce:
        return ""
    name, why = next(iter(scarce.items()))
    others = f" and {len(scarce) - 1} more layers" * (len(scarce) > 1)
    return f"; losses rest on too few data at {name} ({why}){others}: calibrate on more examples"
