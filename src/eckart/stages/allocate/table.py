"""Curves as a table of options, each with its loss and costs, for the allocator to choose from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eckart.costs import Cost
from eckart.records import Curve, Curves, GroupCurve, Option, Piece
from eckart.stages.allocate.coupled import Coupled
from eckart.stages.allocate.elimination import States
from eckart.stages.allocate.knapsack import Indices, Knapsack, Vector

_DIGITS = 2.0**40  # about twelve decimal digits
_NOTHING = 1e-14  # relative to the largest loss of a site


class Kept(NamedTuple):
    """A group, and the number of its units that stay."""

    curve: GroupCurve
    size: int


Menu = Sequence[Option | Kept]
"""What can be chosen: an option of a layer, or a size of a group."""


def assembled(curves: Curves, priced: Sequence[Cost], count_norms: bool) -> tuple[Coupled, Menu]:
    """The coupled knapsack whose sites are all layers, then all groups.

    An option of a layer is open only if its width is the one that the layer's groups leave to it.

    Args:
        curves: what could be done.
        priced: the costs to count.
        count_norms: whether to count the costs of the norms of a group's channels.

    Returns:
        The knapsack, and what each of its options means.
    """
    table = _Table(curves, priced)
    for curve in curves.curves:
        table.add_layer(curve)
    for group in curves.groups:
        table.add_group(group, count_norms)
    return table.problem(), table.menu


class _Table:
    """The options of a knapsack, site by site and cell by cell; its variables are the groups."""

    def __init__(self, curves: Curves, priced: Sequence[Cost]) -> None:
        self.curves, self.priced = curves, priced
        self.menu: list[Option | Kept] = []
        self._sites, self._cells, self._scopes = list[int](), list[int](), list[States]()
        self._losses, self._costs = [np.zeros(0)], [np.zeros((0, len(priced)))]

    def add_layer(self, curve: Curve) -> None:
        """Add the options of one layer."""
        name, spec = curve.site.name, self.curves.specs[curve.site.name]
        scope = tuple(i for i, c in enumerate(self.curves.groups) if name in c.group.members)
        rows = np.array([[c.of(spec, o.form) for c in self.priced] for o in curve.options], float)
        losses = _settled(np.array([option.loss for option in curve.options]))
        ends = [(o.form.pieces[0].inputs, o.form.pieces[-1].outputs) for o in curve.options]
        of_widths = _undominated(losses, rows, ends)
        dense = len(curve.options) - 1
        if dense not in of_widths[ends[dense]]:
            of_widths[ends[dense]].append(dense)  # because savings are measured against it
        for cell, widths in enumerate(self._widths(name, spec.piece, scope)):
            kept = of_widths.get(widths, [])
            self._add(cell, [curve.options[i] for i in kept], losses[kept], rows[kept])
        self._scopes.append(scope)

    def _widths(self, name: str, dense: Piece, scope: States) -> Iterator[tuple[int, int]]:
        """For every joint state of a layer's groups, its inputs and outputs that are left."""
        groups = [self.curves.groups[variable] for variable in scope]
        left = [[_left(curve, name, dense, size) for size in curve.sizes] for curve in groups]
        for ends in product(*left):
            inputs = min((i for i, _ in ends), default=dense.inputs)
            outputs = min((o for _, o in ends), default=dense.outputs)
            yield inputs, outputs

    def add_group(self, group: GroupCurve, count_norms: bool) -> None:
        """Add the numbers of units of one group that may stay."""
        menu = [Kept(group, size) for size in group.sizes]
        losses = _settled(np.array(list(group.losses.values())))
        for cell, kept in enumerate(menu):
            each = [group.cost(cost.name, kept.size) * count_norms for cost in self.priced]
            self._add(cell, [kept], losses[cell : cell + 1], np.array([each], float))
        self._scopes.append((self.curves.groups.index(group),))

    def problem(self) -> Coupled:
        """The knapsack of everything that was added."""
        options = Knapsack(
            np.array(self._sites, np.intp),
            np.concatenate(self._losses),
            np.concatenate(self._costs).T,
        )
        states = tuple(len(group.sizes) for group in self.curves.groups)
        return Coupled(options, tuple(self._scopes), np.array(self._cells, np.intp), states)

    def _add(self, cell: int, menu: Menu, losses: Vector, costs: Vector) -> None:
        """Add options of the current site in one cell; costs have shape (options, costs)."""
        self.menu += menu
        self._sites += [len(self._scopes)] * len(menu)
        self._cells += [cell] * len(menu)
        self._losses.append(losses)
        self._costs.append(costs)


def _left(curve: GroupCurve, name: str, dense: Piece, size: int) -> tuple[int, int]:
    """Inputs and outputs of a layer that are left where a group keeps ``size`` units."""
    group, kept = curve.group, curve.kept(size)
    inputs, outputs = dense.inputs, dense.outputs
    if name in group.readers:
        inputs = len(group.columns_left(name, kept, dense.inputs))
    if name in group.writers or name in group.followers:
        outputs = len(group.rows_left(name, kept, dense.outputs))
    return (outputs if name in group.followers else inputs), outputs


def _settled(losses: Vector) -> Vector:
    """Losses rounded so that equal computations give equal losses.

    Twelve digits are kept, and losses below the rounding error of a site's largest loss become 0.
    So ties stay ties, whatever the order in which sums were computed.
    """
    mantissa, exponent = np.frexp(losses)
    rounded = np.ldexp(np.round(mantissa * _DIGITS) / _DIGITS, exponent)
    return np.where(losses > _NOTHING * losses.max(initial=0.0), rounded, 0.0)


def _undominated(
    losses: Vector, costs: Vector, ends: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], list[int]]:
    """By widths, the options that no other beats in loss and all costs; that of least loss last."""
    known = {widths: i for i, widths in enumerate(dict.fromkeys(ends))}
    at = np.array([known[widths] for widths in ends])
    order = np.lexsort((*costs.T[::-1], losses, at))
    kept = order[_first_single(costs[order, 0], at[order])] if costs.shape[1] == 1 else order
    parts = np.split(kept, np.flatnonzero(np.diff(at[kept])) + 1)
    if costs.shape[1] > 1:
        parts = [_first_several(costs, part) for part in parts]
    return {ends[part[0]]: part[::-1].tolist() for part in parts}


def _first_single(spent: Vector, at: Indices) -> NDArray[np.bool_]:
    """Whether an option costs less than all before it at the same widths, which are in a row."""
    falling = spent + (at[-1] - at) * (1.0 + spent.max())  # each width's are below the last one's
    least: Vector = np.minimum.accumulate(np.concatenate([[np.inf], falling]))[:-1]
    found: NDArray[np.bool_] = falling < least
    return found


def _first_several(costs: Vector, order: Indices) -> Indices:
    """Those of some options for which none before costs as little or less, by every cost."""
    kept: list[int] = []
    for i in order.tolist():
        if not (costs[kept] <= costs[i]).all(1).any():
            kept.append(i)
    return np.array(kept, np.intp)
