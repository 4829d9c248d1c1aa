"""How much each output of a network varies over the calibration data."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from eckart.records.reading import Count, read

_LEAST = 1e-6  # of the mean square: what varies less counts as if it varied this much


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Sums over the entries of one output, which add up over batches, machines and runs.

    Attributes:
        entries: number of entries.
        total, squares: sum of the entries, and of their squares.
        within: sum of squared distances from the mean over the first axis of each batch.
        freedom: degrees of freedom of ``within``: entries minus the number of such means.
        weight: how much the output counts beside the others.
    """

    entries: Count
    total: float
    squares: float
    within: float
    freedom: Count
    weight: float = 1.0

    def __add__(self, other: Spread) -> Spread:
        """The sums over both."""
        return Spread(
            entries=self.entries + other.entries,
            total=self.total + other.total,
            squares=self.squares + other.squares,
            within=self.within + other.within,
            freedom=self.freedom + other.freedom,
            weight=self.weight,
        )

    def per_example(self, examples: int) -> float:
        """The squared distance of an output from its mean, summed over its entries, per example.

        If each batch has one example, the distance is that from the mean of all entries. An output
        that hardly varies counts as if it varied by a thousandth of its size, so that it does not
        drown the others.
        """
        square = self.squares / max(1, self.entries)
        variance = square - (self.total / max(1, self.entries)) ** 2
        variance = self.within / self.freedom if self.freedom else variance
        return max(variance, _LEAST * square) * self.entries / max(1, examples)

    def as_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Spread:
        """The inverse of ``as_json``."""
        return read(cls, data)

    def contradiction(self) -> str | None:
        """Sums of squares are not negative, and a weight is positive."""
        if min(self.squares, self.within) < 0 or self.freedom > self.entries:
            return f"it cannot have these sums: {self}"
        return None if self.weight > 0 else f"its weight must be positive, got {self.weight}"


def output_key(layer: str, path: str = "") -> str:
    """The key of the gradients' sum at a layer, for the output at a path; ``""`` is the root."""
    return f"{layer}@{path}" if path else layer


def scales_of(
    spreads: Mapping[str, Spread], probed: Collection[str], examples: int
) -> dict[str, float]:
    """What the squared change of each output is multiplied by.

    It is 1 for a single output. Of several, each is divided by its spread per example, times its
    weight; one that is always zero gets 0.

    Args:
        spreads: by path.
        probed: the paths of the outputs from which a gradient reached a layer; others have none.
        examples: number of examples.
    """
    counted = {path: spread for path, spread in spreads.items() if path in probed}
    if len(counted) < 2:
        return dict.fromkeys(counted, 1.0)
    each = {path: spread.per_example(examples) for path, spread in counted.items()}
    return {path: spreads[path].weight / s if s > 0 else 0.0 for path, s in each.items()}


def idle_outputs(spreads: Mapping[str, Spread], probed: Collection[str]) -> dict[str, str]:
    """Why outputs with a spread do not count all the same."""
    idle = "no gradient flows from it to a layer that can be compressed"
    zero = "it is zero for all calibration data"
    return {
        path: zero if path in probed else idle
        for path, spread in spreads.items()
        if path not in probed or (spread.squares == 0 and len(probed) > 1)
    }


def added_spreads(parts: Sequence[Mapping[str, Spread]]) -> dict[str, Spread]:
    """The spreads over all parts of the data."""
    total: dict[str, Spread] = {}
    for part in parts:
        for path, spread in part.items():
            total[path] = total[path] + spread if path in total else spread
    return total


def weights_differ(left: Mapping[str, Spread], right: Mapping[str, Spread]) -> bool:
    """Whether an output has one weight here and another there."""
    return any(left[path].weight != right[path].weight for path in left.keys() & right.keys())
