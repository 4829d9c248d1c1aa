"""Backward elimination: from all units, always the one goes that costs least beside the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from eckart.linalg.elimination.coarse import coarse_readers
from eckart.linalg.elimination.left import Left, Pool
from eckart.linalg.elimination.refitting import Reader, check_some, factored, nested_removal_losses

_SHARE = 16  # of the units that are left, one in this many goes before all are weighed again
_FEW = 64  # units that are weighed again after each removal,
_NARROW = 1024  # as long as there are no more columns


@dataclass(frozen=True)
class Removals:
    """Units in an order, and what it costs to keep its first k.

    Attributes:
        order: all units, most important first.
        losses: shape (units + 1,), predicted loss of keeping the first k and refitting.
    """

    order: list[int]
    losses: Float64[Tensor, " sizes"]


def backward_elimination(readers: Sequence[Reader]) -> list[int]:
    """The order of ``backward_removals``: all units, most important first."""
    return backward_removals(readers).order


def backward_removals(readers: Sequence[Reader]) -> Removals:
    """Order the units from the most important to the first one to remove, with the losses.

    The search starts from the full set and is greedy: it removes the unit that adds the least loss
    when all others are refitted. With ``P = A[S, S]⁻¹`` and ``C = Mᵀ G M`` of the refit M, removing
    the columns j adds ``½ tr(C[j, j] P[j, j]⁻¹)``.

    All units are weighed only now and then. In between, up to a sixteenth of them goes one at a
    time from a small pool, which holds those that weighed least; then matrix products update the
    rest for all of them at once. A pool is left as soon as a unit outside weighed less.

    Of wide readers with several columns per unit, the first half of the units goes by the order of
    smaller matrices, see ``coarse``; the search begins at what they leave. The losses are
    those of the readers themselves.

    Cost: O(4 in³/3 + out in²/2) multiplications per reader, of which in³ are to invert A; of wide
        ones O(in³/2 + out in²).

    Source: Hassibi and Stork 1993 (optimal brain surgeon): second-order pruning, here of layer
        outputs, for blocks of columns and with G.
    """
    check_some(readers)
    units = len(readers[0].columns)
    coarse = coarse_readers(readers)
    if coarse is None:
        return _removals(readers, [Left.of(reader) for reader in readers], range(units))
    rough = backward_elimination(coarse)
    kept, left_out = rough[: units // 2], rough[units // 2 :]
    wholes = [factored(reader, rough) for reader in readers]
    losses = torch.stack([whole.losses for whole in wholes]).sum(0)[len(kept) :].tolist()
    states = [Left.behind(*pair, kept) for pair in zip(readers, wholes, strict=True)]
    del wholes
    return _removals(readers, states, kept, left_out, losses)


def _removals(
    readers: Sequence[Reader],
    states: Sequence[Left],
    units: Sequence[int],
    left_out: Sequence[int] = (),
    losses: Sequence[float] = (0.0,),
) -> Removals:
    """Put these units in order; the losses of those that are left out already are known."""
    left, gone, added = torch.tensor(list(units)), list[int](), list[float]()
    while len(left):
        leaving = _leaving(states, left)
        gone += leaving
        added += leaving.values()
        left = left[~torch.isin(left, torch.tensor([*leaving]))]
        for state in states if len(left) else ():
            state.remove([*leaving])
    order = [*gone[::-1], *left_out]
    if not all(state.sure for state in states):
        return Removals(order, nested_removal_losses(readers, order))
    sums = torch.tensor(added, dtype=torch.float64).clamp_min(0).cumsum(0) + losses[0]
    return Removals(order, torch.cat([sums.flip(0), torch.tensor(losses, dtype=torch.float64)]))


def _leaving(states: Sequence[Left], left: Int64[Tensor, " left"]) -> dict[int, float]:
    """The units that go next, in this order, with what each of them adds to the loss."""
    costs = torch.stack([state.added() for state in states]).sum(0).cpu()[left]
    order = costs.argsort(stable=True)
    few = len(left) <= _FEW and all(len(state.inverse) <= _NARROW for state in states)
    most = len(left) if few else max(1, len(left) // _SHARE)
    chosen, outside = left[order[: 2 * most]], costs[order[2 * most :]]
    pools = [state.pool(chosen) for state in states] if most > 1 else []
    least = float(outside.min()) if len(outside) else torch.inf
    gone = torch.zeros(len(chosen), dtype=torch.bool)
    leaving, here = dict[int, float](), costs[order[: 2 * most]]
    while not leaving or (len(leaving) < most and float(here.min()) <= least):
        place = int(here.argmin())
        leaving[int(chosen[place])] = float(here[place])
        gone[place] = True
        if len(leaving) < most:
            here = _weighed(pools, place).masked_fill_(gone, torch.inf)
    return leaving


def _weighed(pools: Sequence[Pool], place: int) -> Float64[Tensor, " pool"]:
    """What each unit of a pool adds to the loss when the one at this place is gone."""
    for pool in pools:
        pool.remove(place)
    return sum((pool.added() for pool in pools[1:]), pools[0].added()).cpu()
