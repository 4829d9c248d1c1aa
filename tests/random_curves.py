"""Curves made by hand, and the brute force that allocation is held against."""

from collections.abc import Sequence
from itertools import product

from eckart.costs import COSTS, cost_named
from eckart.methods import low_rank_form
from eckart.records import Budget, Curve, Curves, Form, LayerSpec, Option, Piece, Site

Losses = Sequence[tuple[int, float]]  # (rank, loss)


def spec(name: str, piece: Piece, size: tuple[int, ...] = (1,)) -> LayerSpec:
    return LayerSpec(
        name=name,
        type="conv2d" if piece.kernel else "linear",
        dense=Form((piece,)),
        sizes=(size,),
        itemsize=4,
        input=name,
    )


def curves_of(
    specs: Sequence[LayerSpec], losses: Sequence[Losses], extra: int = 0, **fields: object
) -> Curves:
    """Low-rank options with these losses; ``extra`` is what the rest of the model costs."""
    found = []
    for layer, offered in zip(specs, losses, strict=True):
        options = [Option("weighted_svd", low_rank_form(layer.piece, r), x) for r, x in offered]
        dense = Option("dense", layer.dense, 0.0)
        found.append(Curve(Site(layer.name, (layer.name,)), (*options, dense)))
    totals = {
        name: extra + sum(cost.of(layer, layer.dense) for layer in specs)
        for name, cost in COSTS.items()
    }
    defaults = {"dense": {"stem": "asked to stay dense"}, "fingerprint": "f", "damping": 1e-6}
    by_name = {layer.name: layer for layer in specs}
    return Curves(curves=tuple(found), specs=by_name, totals=totals, **{**defaults, **fields})


def cheapest_loss(curves: Curves, budget: Budget) -> float | None:
    """The least predicted loss within the budget, by trying every choice; None if there is none."""
    best = None
    for picked in product(*(curve.options for curve in curves.curves)):
        if all(spent(curves, picked, name) <= most for name, most in amounts(curves, budget)):
            loss = sum(option.loss for option in picked)
            best = loss if best is None else min(best, loss)
    return best


def spent(curves: Curves, picked: Sequence[Option], metric: str) -> int:
    """What the chosen options cost together."""
    pairs = zip(curves.curves, picked, strict=True)
    of = cost_named(metric).of
    return sum(of(curves.specs[curve.site.name], option.form) for curve, option in pairs)


def amounts(curves: Curves, budget: Budget) -> list[tuple[str, float]]:
    """What the options may cost together under each limit."""
    found = []
    for name, limit in budget.limits.items():
        dense = spent(curves, [curve.options[-1] for curve in curves.curves], name)
        whole = curves.totals.get(name, dense) if budget.of == "model" else dense
        most = limit * whole if isinstance(limit, float) else limit
        found.append((name, most - (whole - dense) + 1e-9))
    return found
