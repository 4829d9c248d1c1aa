"""Which layers can be factored, and which rank each of them gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Integral, Real

from torch import nn

from eckart.errors import InputError
from eckart.layers import piece_of
from eckart.linalg.admissible import admissible
from eckart.methods import low_rank_form
from eckart.network.identity import check_numbers
from eckart.network.survey import matching, survey
from eckart.records import Piece

Rank = int | float
Ranks = Rank | Mapping[str, Rank]
Layers = dict[str, nn.Module]
Reasons = dict[str, str]


def candidates(
    model: nn.Module, layers: Iterable[str] | None, dense: Iterable[str]
) -> tuple[Layers, Reasons]:
    """The layers that can be factored, by name, and for every other layer the reason.

    Raises:
        InputError: no layer matches a pattern, or a weight is complex or on the meta device.
        NonFiniteError: a weight holds NaN or infinity.
    """
    for name, parameter in model.named_parameters():
        check_numbers(name, parameter)
    found, reasons = survey(model, layers)
    asked = matching(dense, [*found, *reasons])
    reasons |= dict.fromkeys(asked & set(found), "asked to stay dense")
    reasons |= {n: "it is empty" for n, layer in found.items() if full_rank(piece_of(layer)) < 1}
    kept = {name: layer for name, layer in found.items() if name not in reasons}
    for name, layer in kept.items():
        admissible(layer.weight, f"layer {name!r}: its weight")  # type: ignore[arg-type]
    return kept, reasons


def ranked(
    ranks: Ranks, pieces: Mapping[str, Piece], dense: Reasons, *, core: bool
) -> tuple[dict[str, int], Reasons]:
    """The rank of every layer that gets one, and for every other layer the reason.

    Args:
        ranks: one rank for all layers, or ranks by name or pattern; a later entry overrides an
            earlier one.
        pieces: the layers that can be factored.
        dense: the reason for each layer that cannot be factored.
        core: whether there is a square matrix between the factors.

    Raises:
        InputError: a rank is not valid, a pattern matches nothing, or a layer that is listed by its
            own name cannot have its rank.
    """
    given = dict(ranks) if isinstance(ranks, Mapping) else {"*": ranks}
    names = [*pieces, *dense]
    wanted, own = dict[str, Rank](), set[str]()
    for pattern, rank in given.items():
        _check(pattern, rank)
        found = matching([pattern], names) if names else set[str]()
        wanted |= dict.fromkeys(found, rank)
        own = own - found | ({pattern} & found)
    fitting, reasons = dict[str, int](), dict(dense)
    for name, piece in pieces.items():
        if name not in wanted:
            reasons[name] = "no rank was given for it"
            continue
        rank = _absolute(wanted[name], piece)
        reason = _unfit(rank, piece, core=core, named=name in own)
        if reason is None:
            fitting[name] = rank
        else:
            reasons[name] = reason
    for name in sorted(own & set(reasons)):
        raise InputError(f"layer {name!r} cannot have the rank {wanted[name]}: {reasons[name]}")
    return fitting, reasons


def listed(reasons: Reasons) -> str:
    """The reasons on one line, for an error message."""
    each = (f"{name}: {why}" for name, why in reasons.items())
    return "; ".join(each) or "the network has none"


def full_rank(piece: Piece) -> int:
    """The full rank of a layer's matrix, or of the matrix of each of its groups."""
    return min(piece.matrix_shape[1:])


def _check(pattern: str, rank: Rank) -> None:
    whole = isinstance(rank, Integral) and not isinstance(rank, bool)
    part = isinstance(rank, Real) and not isinstance(rank, Integral)
    if not (whole and rank >= 1) and not (part and 0 < rank <= 1):
        raise InputError(
            f"rank {rank!r} for {pattern!r}: give a positive integer, or a float in (0, 1], which "
            "is a fraction of the full rank"
        )


def _absolute(rank: Rank, piece: Piece) -> int:
    if isinstance(rank, Integral):
        return int(rank)
    return max(1, int(rank * full_rank(piece) + 1e-9))


def _unfit(rank: int, piece: Piece, *, core: bool, named: bool) -> str | None:
    """Why a layer cannot have this rank, or would not become smaller with it; None if it can."""
    if rank > full_rank(piece):
        return f"rank {rank} is beyond its full rank, {full_rank(piece)}"
    factored = low_rank_form(piece, rank, core=core).params
    if named or factored < piece.params:
        return None
    return (
        f"rank {rank} takes {factored:,} parameters and the layer has {piece.params:,}; to factor "
        "it anyway, give the rank under the layer's own name"
    )
