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
    table = _Table(curves, priced)
    for curve in curves.curves:
        table.add_layer(curve)
    for group in curves.groups:
        table.add_group(group, count_norms)
    for site in curves.shared:
        table.add_shared(site)
    return table.problem(), table.menu


class _Table:
    """The options of a knapsack, site by site and cell by cell.

    Its variables are the groups, then the shared sites.
    """

    def __init__(self, curves: Curves, priced: Sequence[Cost]) -> None:
        self.curves, self.priced = curves, priced
        self.menu: list[Option | Kept | Together | None] = []
        self.variable_of = {
            name: variable
            for variable, site in enumerate(curves.shared, len(curves.groups))
            for name in site.site.layers
        }
        self._sites, self._cells, self._scopes = list[int](), list[int](), list[States]()
        self._losses, self._costs = [np.zeros(0)], [np.zeros((0, len(priced)))]

    def add_layer(self, curve: Curve) -> None:
        """One layer; nothing of its own where its shared site takes something."""
        name, spec = curve.site.name, self.curves.specs[curve.site.name]
        groups = enumerate(self.curves.groups)
        scope = tuple(i for i, c in groups if name in c.group.members)
        first = 0
        if name in self.variable_of:
            scope, first = (self.variable_of[name],), _APART
            self._add(_SHARED, [None], np.zeros(1), np.zeros((1, len(self.priced))))
        rows = np.array([[c.of(spec, o.form) for c in self.priced] for o in curve.options], float)
        for cell, members in _cells(self.curves, curve, () if first else scope):
            losses = np.array([curve.options[i].loss for i in members])
            kept = [members[i] for i in _undominated(losses, rows[members])]
            dense = len(curve.options) - 1
            if dense in members and dense not in kept:
                kept.append(dense)  # as the measure of what is saved
            options = [curve.options[i] for i in kept]
            losses = np.array([option.loss for option in options])
            self._add(first + cell, options, losses, rows[kept])
        self._scopes.append(scope)

    def add_group(self, group: GroupCurve, count_norms: bool) -> None:
        """The numbers of units that may stay."""
        each = [group.costs.get(cost.name, 0) * count_norms for cost in self.priced]
        menu = [Kept(group, size) for size in group.sizes]
        for cell, (kept, loss) in enumerate(zip(menu, group.losses.values(), strict=True)):
            self._add(cell, [kept], np.array([loss]), kept.size * np.array([each], float))
        self._scopes.append((self.curves.groups.index(group),))

    def add_shared(self, site: SharedCurve) -> None:
        """What several layers can do together, or nothing."""
        names = site.site.layers
        losses = np.array([sum(option.loss for option in options) for options in site.options])
        specs = [self.curves.specs[name] for name in names]
        rows = np.array(
            [
                [sum(c.of(s, o.form) for s, o in zip(specs, t, strict=True)) for c in self.priced]
                for t in site.options
            ],
            float,
        )
        kept = _undominated(losses, rows)
        self._add(_SHARED, [site.options[i] for i in kept], losses[kept], rows[kept])
        self._add(_APART, [()], np.zeros(1), np.zeros((1, len(self.priced))))
        self._scopes.append((self.variable_of[names[0]],))

    def problem(self) -> Coupled:
        """The knapsack of all that was added."""
        options = Knapsack(
            np.array(self._sites, np.intp),
            np.concatenate(self._losses),
            np.concatenate(self._costs).T,
        )
        sizes = [len(group.sizes) for group in self.curves.groups]
        states = (*sizes, *[2] * len(self.curves.shared))
        return Coupled(options, tuple(self._scopes), np.array(self._cells, np.intp), states)

    def _add(self, cell: int, menu: Menu, losses: Vector, costs: Vector) -> None:
        """Options of the open site, in one cell; costs are (options, metrics)."""
        self.menu += menu
        self._sites += [len(self._scopes)] * len(menu)
        self._cells += [cell] * len(menu)
        self._losses.append(losses)
        self._costs.append(costs)


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
