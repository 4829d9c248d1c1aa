"""How well one network does its task."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from math import isfinite, nan, sqrt
from typing import TYPE_CHECKING, Any

from eckart.errors import InputError
from eckart.records.reading import Count, read

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any  # so that budgets and plans can be read without importing torch


@dataclass(frozen=True)
class Score:
    """How well a network does, with the number of examples behind it.

    Attributes:
        value: for example the fraction of correct answers.
        n: number of examples; None if unknown.
        higher_is_better: False for losses and perplexities.
        samples: the score of each example, shape (n,), in the order of the data, if the value is
            their mean. Differences between networks then have a paired standard error.
        error: standard error of the value; computed from the samples if they are given.
    """

    value: float | int
    n: Count | None = None
    _: KW_ONLY
    higher_is_better: bool = True
    samples: Tensor | None = field(default=None, repr=False, compare=False)
    error: float | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not isfinite(self.value):
            raise InputError(
                f"the evaluation returned {self.value}: a score must be finite; "
                "check the data and the network it was given"
            )
        if self.samples is not None and self.n not in (None, len(self.samples)):
            raise InputError(f"a score of n={self.n} examples has {len(self.samples)} samples")

    @classmethod
    def of(cls, result: Score | float) -> Score:
        """The result of an ``evaluate`` as a Score; for a plain number, higher is better."""
        if isinstance(result, Score):
            return result
        try:
            value = float(result.detach() if hasattr(result, "detach") else result)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"evaluate must return a number or a Score, got {type(result).__name__}"
            ) from error
        return cls(value)

    def __str__(self) -> str:
        error = self.standard_error
        spread = f" ± {error:.2g}" if isfinite(error) else ""
        return f"{self.value:.5g}{spread}" + ("" if self.n is None else f" (n = {self.n:,})")

    @property
    def standard_error(self) -> float:
        """Standard error of the value; NaN if unknown."""
        if self.samples is None or len(self.samples) < 2:
            return nan if self.error is None else self.error
        return float(self.samples.double().std()) / sqrt(len(self.samples))

    def drop_from(self, reference: Score) -> float:
        """How much worse this is than the reference; negative if better."""
        return (reference.value - self.value) * (1 if self.higher_is_better else -1)

    def change_from(self, reference: Score) -> str:
        """``"rise"`` or ``"drop"``: how the value itself changed, whichever direction is better."""
        return "rise" if self.value > reference.value else "drop"

    def is_much_worse_than(self, reference: Score) -> bool:
        """Whether more than a tenth of the reference's value is lost."""
        return self.drop_from(reference) > abs(reference.value) / 10

    def drop_error(self, reference: Score) -> float:
        """Standard error of the drop, paired by example; NaN if samples are missing."""
        mine, other = self.samples, reference.samples
        if mine is None or other is None or len(mine) != len(other) or len(mine) < 2:
            return nan
        return float((mine.double() - other.double()).std()) / sqrt(len(mine))

    def as_json(self) -> dict[str, Any]:
        """Value, count, direction and standard error."""
        error = self.standard_error
        return {
            "value": self.value,
            "n": self.n,
            "higher_is_better": self.higher_is_better,
            "standard_error": error if isfinite(error) else None,
        }

    @classmethod
    def from_json(cls, data: Any) -> Score:
        """The inverse of ``as_json``, except that the samples are not kept."""
        return read(cls, data)

    @classmethod
    def unpacked(cls, data: Any) -> Any:
        """Samples are not written; the standard error is written under its full name."""
        if not isinstance(data, dict) or "error" in data or "samples" in data:
            return data
        return {"error" if k == "standard_error" else k: v for k, v in data.items()}
