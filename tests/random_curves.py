"""Curves made by hand, and the brute force that allocation is held against."""

from collections.abc import Callable, Sequence
from itertools import pairwise, product

import numpy as np

from eckart.costs import cost_named, costs_told_by
from eckart.methods import low_rank_form
from eckart.records import (
    Budget,
    ChannelGroup,
    Curve,
    Curves,
    Form,
    GroupCurve,
    LayerSpec,
    Option,
    Piece,
    Site,
)

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
        for name, cost in costs_told_by(specs).items()
    }
    defaults = {"dense": {"stem": "asked to stay dense"}, "fingerprint": "f", "damping": 1e-6}
    by_name = {layer.name: layer for layer in specs}
    return Curves(curves=tuple(found), specs=by_name, totals=totals, **{**defaults, **fields})


def cheapest_loss(curves: Curves, budget: Budget) -> float | None:
    """The least predicted loss within the budget, by trying every choice; None if there is none."""
    return _cheapest(curves, [curve.options for curve in curves.curves], budget)


def _cheapest(
    curves: Curves, offered: Sequence[Sequence[Option]], budget: Budget, lost: float = 0.0
) -> float | None:
    """The least loss, with what was lost already, of these options for each site."""
    limits = amounts(curves, budget)
    found = [
        lost + sum(option.loss for option in picked)
        for picked in product(*offered)
        if all(spent(curves, picked, name) <= most for name, most in limits)
    ]
    return min(found, default=None)


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


def chained_curves(
    seed: int,
    groups: int,
    sizes: int,
    ranks: int = 2,
    ties: bool = False,
    noise: Callable[[], float] = lambda: 1.0,
) -> Curves:
    """Linear layers in a row; the channels between two of them are a group.

    Args:
        seed: of the losses and widths.
        groups: number of groups, one less than there are layers.
        sizes: how many sizes each group may have.
        ranks: of each layer at each of its widths, besides full rank.
        ties: losses are small whole numbers.
        noise: what each loss is multiplied by.
    """
    rng = np.random.default_rng(seed)

    def loss(scale: float) -> float:
        drawn = 1.0 + rng.integers(0, 3) if ties else scale * 10.0 ** rng.uniform(-3, 1)
        return float(drawn) * noise()

    widths = [int(w) for w in rng.integers(sizes + 1, 2 * sizes + 8, groups + 2)]
    specs = [
        spec(f"layer{i}", Piece(*ends), (int(rng.integers(1, 9)),))
        for i, ends in enumerate(pairwise(widths))
    ]
    found = [_group_between(i, widths[i + 1], sizes, rng, loss) for i in range(groups)]
    kept = [[widths[0]], *(curve.sizes for curve in found), [widths[-1]]]
    curves = []
    for i, layer in enumerate(specs):
        options = []
        for ends in product(kept[i], kept[i + 1]):
            piece = Piece(*ends)
            if piece != layer.piece:
                options.append(Option("narrowed", Form((piece,)), 0.0))
            for rank in range(1, 1 + min(ranks, min(ends) - 1)):
                options.append(Option("weighted_svd", low_rank_form(piece, rank), loss(1 / rank)))
        dense = Option("dense", layer.dense, 0.0)
        curves.append(Curve(Site(layer.name, (layer.name,)), (*options, dense)))
    totals = {
        name: sum(c.of(s, s.dense) for s in specs) for name, c in costs_told_by(specs).items()
    }
    return Curves(
        curves=tuple(curves),
        specs={layer.name: layer for layer in specs},
        totals=totals,
        dense={},
        fingerprint="f",
        damping=1e-6,
        groups=tuple(found),
    )


def _group_between(
    layer: int, width: int, sizes: int, rng: np.random.Generator, loss: Callable[[float], float]
) -> GroupCurve:
    """The channels that one layer writes and the next reads."""
    units = tuple((j,) for j in range(width))
    group = ChannelGroup(
        name=f"layer{layer}",
        size=width,
        writers={f"layer{layer}": units},
        readers={f"layer{layer + 1}": units},
        followers={},
    )
    fewer = sorted(rng.choice(np.arange(1, width), sizes - 1, replace=False).tolist())
    losses = {size: loss(width - size) for size in fewer} | {width: 0.0}
    order = tuple(rng.permutation(width).tolist())
    return GroupCurve(
        group=group, method="backward_elimination", order=order, losses=losses, costs={}
    )


def cheapest_coupled_loss(curves: Curves, budget: Budget) -> float | None:
    """``cheapest_loss`` where groups decide which options are open, by trying every size."""
    found = []
    for sizes in product(*(curve.sizes for curve in curves.groups)):
        lost = sum(curve.losses[k] for curve, k in zip(curves.groups, sizes, strict=True))
        widths = dict(zip((curve.group.name for curve in curves.groups), sizes, strict=True))
        open_now = [[o for o in c.options if _is_open(o, c.site, widths)] for c in curves.curves]
        found.append(_cheapest(curves, open_now, budget, lost))
    return min((loss for loss in found if loss is not None), default=None)


def _is_open(option: Option, site: Site, widths: dict[str, int]) -> bool:
    """Whether its ends are the widths that the groups on both sides leave it."""
    here = int(site.name.removeprefix("layer"))
    inputs, outputs = option.form.pieces[0].inputs, option.form.pieces[-1].outputs
    wanted = widths.get(f"layer{here - 1}", inputs), widths.get(f"layer{here}", outputs)
    return (inputs, outputs) == wanted
