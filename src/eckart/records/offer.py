"""What the user allows to be done to a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from typing import Any, TypedDict, final

from eckart.errors import InputError
from eckart.records.budgets import MS
from eckart.records.forms import Form
from eckart.records.naming import names_in
from eckart.records.pieces import ACTIVATIONS, WIDTHS

AUTO = "auto"
DAMPING = 1e-6  # relative to a moment's mean diagonal; float32 products have noise of this order


class Allowed(TypedDict, total=False):
    """The fields of an ``Offer`` as keywords."""

    methods: str | Iterable[str]
    dense: str | Iterable[str]
    multiple: int
    least_rank: int
    bits: str | Iterable[int | str]
    activations: int
    limits: str | Iterable[str]
    damping: float | str
    rescale: Any


@final
@dataclass(frozen=True, kw_only=True)
class Offer:
    """What may be done to which layers, and how its loss is predicted.

    Attributes:
        methods: names of the methods to offer; ``"auto"`` for those that suit the network, see
            ``eckart.methods.fitting_methods``.
        dense: names or patterns of layers to leave dense.
        multiple: offer only ranks and numbers of channels that are multiples of this; for example
            8, if the hardware needs it.
        least_rank: smallest rank to offer.
        bits: how many bits codes may have, from 2 to 8; ``"auto"`` for all of these, and an empty
            tuple for none. By default, codes are offered where nothing but bytes is limited.
        activations: 8 also offers layers whose weights and activations have 8 bits, which run as
            whole numbers where the runtime can; 0 does not. They save milliseconds.
        limits: the costs that budgets will limit; ``"auto"`` for any. Methods that do not pay for
            these are not prepared. ``compress`` and ``frontier`` know them from the budget. Factors
            and narrower layers are offered in codes only if ``"bytes"`` is named, because that
            takes as long as all else.
        damping: ``"auto"`` shrinks ``A`` and ``G`` of each layer towards their diagonals, as far as
            the calibration batches say, see ``eckart.moments.shrinkage``; they must be two or
            more, else 1e-6 is added. A number is added to ``A`` and ``G``, relative to their mean
            diagonal, and nothing is shrunk. If the noise of their products is larger than what is
            added, that is added instead.
        rescale: multiply each layer's losses by a measured ratio: the real change of the output
            when the layer is truncated at one rank, over the predicted change. It is measured on
            the sample in the moments, with the given probe; True uses the probe that the moments
            name as their metric.

    Raises:
        InputError: a number is out of range, or a name is not text.

    Example:
        >>> import eckart
        >>> eckart.Offer(methods=["weighted_svd"], dense=["fc"]).dense
        ('fc',)
    """

    methods: str | Iterable[str] = AUTO
    dense: str | Iterable[str] = ()
    multiple: int = 1
    least_rank: int = 1
    bits: str | Iterable[int | str] = AUTO
    activations: int = 0
    limits: str | Iterable[str] = AUTO
    damping: float | str = AUTO
    rescale: Any = False

    def __post_init__(self) -> None:
        for name in ("multiple", "least_rank"):
            object.__setattr__(self, name, _whole(name, getattr(self, name)))
        if not _is_damping(self.damping):
            raise InputError(f"damping={self.damping!r}: expected {AUTO!r} or a positive number")
        if self.damping != AUTO:
            object.__setattr__(self, "damping", float(self.damping))
        if self.activations not in (0, ACTIVATIONS):
            raise InputError(
                f"activations={self.activations!r}: they have {ACTIVATIONS} bits, or 0 to leave "
                "them as they are"
            )
        object.__setattr__(self, "activations", int(self.activations))
        object.__setattr__(self, "bits", WIDTHS if self.bits == AUTO else _checked(self.bits))
        for name in ("methods", "dense", "limits"):
            object.__setattr__(self, name, _names(name, getattr(self, name)))
        self._check_activations()

    def _check_activations(self) -> None:
        if self.activations and self.limits != AUTO and MS not in self.limits:
            raise InputError(
                f"activations={self.activations}: rounded activations save nothing but "
                "milliseconds: give a budget in ms with timings, or leave them out"
            )

    def allows(self, form: Form) -> bool:
        """Whether a form's ranks and bits are among those that may be used."""
        ranks = (rank >= self.least_rank and rank % self.multiple == 0 for rank in form.ranks)
        return all(ranks) and set(form.bits) <= {*self.bits}

    @property
    def widths(self) -> tuple[int, ...]:
        """The bits that codes may have, in ascending order."""
        return tuple(map(int, self.bits))

    def under(self, costs: Iterable[str]) -> Offer:
        """The offer for budgets that limit these costs, unless it says which."""
        return replace(self, limits=costs) if self.limits == AUTO else self

    @classmethod
    def of(cls, offer: Offer | None, allowed: Mapping[str, Any]) -> Offer:
        """The offer itself, or the one that has these fields.

        Raises:
            InputError: both are given, a field is unknown, or it is not an offer.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(allowed) - set(known))
        if unknown:
            raise InputError(f"unknown argument {unknown[0]!r}; an offer has: {', '.join(known)}")
        if offer is not None and allowed:
            raise InputError(f"give offer= or {', '.join(sorted(allowed))}=, not both")
        if not isinstance(offer, cls | None):
            raise InputError(f"offer={offer!r:.80}: expected an Offer, or its fields as arguments")
        return cls(**allowed) if offer is None else offer


def _whole(field: str, given: object) -> int:
    """One of Python's numbers; those of numpy are taken, too."""
    if not isinstance(given, Integral) or isinstance(given, bool) or given < 1:
        raise InputError(f"{field}={given!r}: expected a whole number from 1")
    return int(given)


def _is_damping(given: object) -> bool:
    if isinstance(given, str):
        return given == AUTO
    return isinstance(given, Real) and not isinstance(given, bool) and float(given) > 0


def _names(field: str, given: object) -> str | tuple[str, ...]:
    """One name, or several as a tuple: an iterator would be empty the second time."""
    names = tuple(names_in(field, given))
    if isinstance(given, str) and (field != "limits" or given == AUTO):
        return given
    return names


def _checked(bits: str | Iterable[int | str]) -> tuple[int, ...]:
    """The widths in ascending order."""
    several = isinstance(bits, Iterable) and not isinstance(bits, str)
    given: list[Any] = list(bits) if several else [bits]
    for width in given:
        if isinstance(width, bool) or width not in WIDTHS:
            known = ", ".join(map(str, WIDTHS))
            raise InputError(f"bits={bits!r}: a code has one of {known} bits, not {width!r}")
    return tuple(sorted(set(map(int, given))))
