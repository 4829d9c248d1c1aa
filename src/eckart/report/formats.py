"""How numbers are written: one precision each for scores, fractions and losses."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, isfinite, log10

from eckart.records import Score

UNKNOWN = "–"
PREFIXES = ("", " k", " M", " G", " T", " P")


def known(value: float | None) -> float | None:
    """The value, or None where it is NaN or infinite, which JSON cannot express."""
    return value if value is not None and isfinite(value) else None


@dataclass(frozen=True)
class ScoreFormat:
    """How scores are written: in percent, or as plain numbers.

    Attributes:
        percent: whether to write percent: for fractions where higher is better, like an accuracy.
    """

    percent: bool

    @classmethod
    def of(cls, dense: Score | None) -> ScoreFormat:
        """Percent if the dense network's score is in [0, 1] and higher is better."""
        return cls(dense is not None and dense.higher_is_better and 0 <= dense.value <= 1)

    @property
    def unit(self) -> str:
        """What to append to a column's name."""
        return " %" if self.percent else ""

    def text(self, value: float | None, error: float | None = None) -> str:
        """The value with its standard error, where they are known.

        Example:
            >>> ScoreFormat(percent=True).text(0.9125, 0.0044)
            '91.25 ± 0.44'
            >>> ScoreFormat(percent=False).text(12.3456, 0.0123)
            '12.35 ± 0.012'
        """
        spread = known(error)
        if value is None:
            return UNKNOWN
        if self.percent:
            tail = "" if spread is None else f" ± {100 * spread:.2f}"
            return f"{100 * value:.2f}{tail}"
        tail = "" if spread is None else f" ± {significant(spread, 2)}"
        return f"{significant(value, 4)}{tail}"


def fraction(part: int, whole: int) -> str:
    """``part / whole`` with three decimals."""
    return f"{part / whole:.3f}"


def milliseconds(value: float | None) -> str:
    """A latency with three significant digits; from 100 on in whole milliseconds."""
    return UNKNOWN if value is None else significant(value, 3)


def loss_text(loss: float) -> str:
    """A predicted loss with three significant digits."""
    return significant(loss, 3)


def significant(value: float, digits: int) -> str:
    """The value with this many significant digits; very large and small ones have an exponent.

    Example:
        >>> significant(1304.2, 3), significant(0.020371, 3), significant(8.4312e-7, 3)
        ('1304', '0.0204', '8.43e-7')
    """
    if not isfinite(value):
        return UNKNOWN
    if value == 0:
        return "0"
    size = floor(log10(abs(value)))
    if -4 < size < 6:
        return f"{value:.{max(0, digits - 1 - size)}f}"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def short_count(count: int) -> str:
    """A count with four significant digits and an SI prefix.

    Example:
        >>> short_count(269722), short_count(40551104), short_count(512)
        ('269.7 k', '40.55 M', '512')
    """
    power = min((len(str(abs(count))) - 1) // 3, len(PREFIXES) - 1)
    return str(count) if power == 0 else f"{count / 1000**power:.4g}{PREFIXES[power]}"
