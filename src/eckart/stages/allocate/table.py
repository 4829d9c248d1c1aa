"""Curves as a table of options, each with its loss and costs, for the allocator to choose from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from eckart.costs import Cost
from eckart.records import Curve, Curves, GroupCurve, Option
from eckart.stages.allocate.coupled import Coupled
from eckart.stages.allocate.elimination import States
from eckart.stages.allocate.knapsack import Knapsack, Vector

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
        for cell, members in _cells(self.curves, curve, scope):
            kept = [members[i] for i in _undominated(losses[members], rows[members])]
            dense = len(curve.options) - 1
            if dense in members and dense not in kept:
                kept.append(dense)  # because savings are measured against it
            self._add(cell, [curve.options[i] for i in kept], losses[kept], rows[kept])
        self._scopes.append(scope)

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


def _cells(curves: Curves, curve: Curve, scope: States) -> Iterator[tuple[int, list[int]]]:
    """For every joint state of a layer's groups: the options of the widths left by this state."""
    name, dense = curve.site.name, curves.specs[curve.site.name].piece
    of_widths: dict[tuple[int, int], list[int]] = {}
    for i, option in enumerate(curve.options):
        ends = option.form.pieces[0].inputs, option.form.pieces[-1].outputs
        of_widths.setdefault(ends, []).append(i)
    groups = [curves.groups[variable] for variable in scope]
    for cell, sizes in enumerate(product(*(group.sizes for group in groups))):
        inputs, outputs = dense.inputs, dense.outputs
        for curve_of, size in zip(groups, sizes, strict=True):
            group, kept = curve_of.group, curve_of.kept(size)
            if name in group.readers:
                inputs = len(group.columns_left(name, kept, dense.inputs))
            if name in group.writers or name in group.followers:
                outputs = len(group.rows_left(name, kept, dense.outputs))
            if name in group.followers:
                inputs = outputs
        yield cell, of_widths.get((inputs, outputs), [])


def _settled(losses: Vector) -> Vector:
    """Losses rounded so that equal computations give equal losses.

    Twelve digits are kept, and losses below the rounding error of a site's largest loss become 0.
    So ties stay ties, whatever the order in which sums were computed.
    """
    mantissa, exponent = np.frexp(losses)
    rounded = np.ldexp(np.round(mantissa * _DIGITS) / _DIGITS, exponent)
    return np.where(losses > _NOTHING * losses.max(initial=0.0), rounded, 0.0)


def _undominated(losses: Vector, costs: Vector) -> list[int]:
    """Options that no other beats in loss and all costs at once; the one of least loss is last."""
    order = np.lexsort((*costs.T[::-1], losses))
    if costs.shape[1] == 1:
        spent = costs[order, 0]
        least = np.minimum.accumulate(np.concatenate([[np.inf], spent]))[:-1]
        return [int(i) for i in order[spent < least][::-1]]
    kept: list[int] = []
    for i in order:
        if not (costs[kept] <= costs[i]).all(1).any():
            kept.append(int(i))
    return kept[::-1]
