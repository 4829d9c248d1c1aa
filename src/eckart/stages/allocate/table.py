"""Curves as a table of options, each with its losses and costs: what the allocator chooses from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from eckart.buckets import States
from eckart.costs import Cost
from eckart.coupled import Coupled
from eckart.knapsack import Knapsack, Vector
from eckart.records import Curve, Curves, GroupCurve, Option, SharedCurve


class Kept(NamedTuple):
    """A group, and how many of its units stay."""

    curve: GroupCurve
    size: int


Together = tuple[Option, ...]
"""One option for each layer of a shared site; none where every layer has its own."""
Menu = Sequence[Option | Kept | Together | None]
"""What can be taken; None is what a layer takes whose shared site takes something."""
_SHARED, _APART = 0, 1  # states of a shared site


def assembled(curves: Curves, priced: Sequence[Cost], count_norms: bool) -> tuple[Coupled, Menu]:
    """Every layer, then every group, then every shared site as a site of a coupled knapsack.

    A layer's options are open at the widths that its groups leave it, and where its shared site
    takes none.

    Args:
        curves: what could be done.
        priced: the costs to count.
        count_norms: whether the norms of a group's channels cost something.

    Returns:
        The knapsack, and what each of its options is.
    """
    table = _Table(len(priced))
    first_shared = len(curves.groups)
    shared = {
        name: variable
        for variable, curve in enumerate(curves.shared, first_shared)
        for name in curve.site.layers
    }
    for curve in curves.curves:
        name, spec = curve.site.name, curves.specs[curve.site.name]
        scope = tuple(i for i, c in enumerate(curves.groups) if name in c.group.members)
        rows = np.array([[c.of(spec, o.form) for c in priced] for o in curve.options], float)
        if name in shared:
            table.add(_SHARED, [None], np.zeros(1), np.zeros((1, len(priced))))
        for cell, members in _cells(curves, curve, scope):
            losses = np.array([curve.options[i].loss for i in members])
            kept = [members[i] for i in _undominated(losses, rows[members])]
            dense = len(curve.options) - 1
            if dense in members and dense not in kept:
                kept.append(dense)  # as the measure of what is saved
            options = [curve.options[i] for i in kept]
            losses = np.array([option.loss for option in options])
            table.add(_APART if name in shared else cell, options, losses, rows[kept])
        table.close((shared[name],) if name in shared else scope)
    for variable, group in enumerate(curves.groups):
        each = np.array([group.costs.get(c.name, 0) * count_norms for c in priced], float)
        for cell, size in enumerate(group.sizes):
            table.add(cell, [Kept(group, size)], np.array([group.losses[size]]), size * each[None])
        table.close((variable,))
    for variable, site in enumerate(curves.shared, first_shared):
        losses = np.array([sum(o.loss for o in options) for options in site.options])
        rows = np.array([_joint_costs(curves, site, options, priced) for options in site.options])
        kept = _undominated(losses, rows)
        table.add(_SHARED, [site.options[i] for i in kept], losses[kept], rows[kept])
        table.add(_APART, [()], np.zeros(1), np.zeros((1, len(priced))))
        table.close((variable,))
    states = tuple(len(group.sizes) for group in curves.groups) + (2,) * len(curves.shared)
    return table.problem(states), table.menu


class _Table:
    """The options of a knapsack, site by site and cell by cell."""

    def __init__(self, metrics: int) -> None:
        self.menu: list[Option | Kept | Together | None] = []
        self._sites, self._cells, self._scopes = list[int](), list[int](), list[States]()
        self._losses, self._costs = [np.zeros(0)], [np.zeros((0, metrics))]

    def add(self, cell: int, menu: Menu, losses: Vector, costs: Vector) -> None:
        """Options of the open site, in one cell; costs are (options, metrics)."""
        self.menu += menu
        self._sites += [len(self._scopes)] * len(menu)
        self._cells += [cell] * len(menu)
        self._losses.append(losses)
        self._costs.append(costs)

    def close(self, scope: States) -> None:
        """The site's variables; what is added next is of another site."""
        self._scopes.append(scope)

    def problem(self, states: States) -> Coupled:
        """The knapsack of all sites."""
        options = Knapsack(
            np.array(self._sites, np.intp),
            np.concatenate(self._losses),
            np.concatenate(self._costs).T,
        )
        return Coupled(options, tuple(self._scopes), np.array(self._cells, np.intp), states)


def _joint_costs(
    curves: Curves, site: SharedCurve, options: Together, priced: Sequence[Cost]
) -> list[float]:
    """What the layers of a shared site cost in sum, by cost."""
    pairs = [(curves.specs[n], o.form) for n, o in zip(site.site.layers, options, strict=True)]
    return [float(sum(cost.of(spec, form) for spec, form in pairs)) for cost in priced]


def _cells(curves: Curves, curve: Curve, scope: States) -> Iterator[tuple[int, list[int]]]:
    """For every joint state of a layer's groups, the options of the widths that it leaves."""
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


def _undominated(losses: Vector, costs: Vector) -> list[int]:
    """Options that no other beats in loss and every cost at once; the lossless one comes last."""
    order = np.lexsort((*costs.T[::-1], losses))
    kept: list[int] = []
    for i in order:
        if not (costs[kept] <= costs[i]).all(1).any():
            kept.append(int(i))
    return kept[::-1]
