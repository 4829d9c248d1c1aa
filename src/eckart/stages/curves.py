"""Moments to curves: for every site, every option with its predicted loss."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import nn

from eckart.costs import COSTS
from eckart.coupling import Coupling, coupling
from eckart.errors import InputError
from eckart.layers import matching, narrowed_piece, norm_width
from eckart.linalg import nested_removal_losses
from eckart.methods import (
    DEFAULT_METHODS,
    Method,
    Problem,
    Selection,
    methods_named,
    narrowed_problem,
    problem_of,
    reading_of,
    selection_named,
)
from eckart.progress import tracked
from eckart.records import (
    ChannelGroup,
    Curve,
    Curves,
    Form,
    GroupCurve,
    LayerSpec,
    Moments,
    Option,
    Site,
)
from eckart.records.plans import NARROWED
from eckart.tracing import check_same_network

DAMPING = 1e-6  # relative to a moment's mean diagonal; float32 products have noise of this order


def curves(
    model: nn.Module,
    moments: Moments,
    *,
    methods: Iterable[str] = DEFAULT_METHODS,
    multiple: int = 1,
    least_rank: int = 1,
    dense: Iterable[str] = (),
    damping: float = DAMPING,
    progress: bool | None = None,
) -> Curves:
    """Predict the loss ``½ tr(G ΔW A ΔWᵀ)`` of every option of every layer.

    ``A`` is the mean of ``x xᵀ`` over a layer's input rows, ``G`` the sum of ``g gᵀ`` over its
    output rows per example, so the loss is per example, in the unit of the output metric: half
    squared logits with the default, nats with the Fisher.

    Args:
        model: the network that the moments were gathered on.
        moments: from ``calibrate``.
        methods: names of the methods to offer.
        multiple: offer only ranks that are multiples of this (8, say, for a hardware's sake).
        least_rank: offer no rank below.
        dense: names or patterns of layers to leave dense.
        damping: added to A and G, relative to their mean diagonal; losses are in that metric.
        progress: show a bar; None shows it on a terminal.

    Returns:
        The options that are cheaper than dense in at least one cost, and dense itself.

    Raises:
        MismatchError: the moments belong to another network.
        InputError: an unknown method, or a grid or damping out of range.

    Cost: per layer and method one decomposition, O(in² out + out³) in float64; ``spatial`` two of
        O((kw out)³).

    Source: Eckart and Young 1936, in the metric of K-FAC (1503.05671).

    Example:
        >>> import torch, eckart
        >>> network = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Linear(30, 4))
        >>> moments = eckart.calibrate(network, [torch.randn(64, 20)])
        >>> print(eckart.curves(network, moments))
        16 options at 2 sites; 0 layers stay dense
    """
    if multiple < 1 or least_rank < 1 or not damping > 0:
        raise InputError(
            f"multiple={multiple}, least_rank={least_rank}, damping={damping}: ranks start at 1 "
            "and the damping is positive"
        )
    check_same_network(model, moments.fingerprint, "these moments")
    offered, selection = methods_named(methods), selection_named(methods)
    kept = matching(dense, [*moments.specs, *moments.skipped])
    reasons = {**moments.skipped, **dict.fromkeys(kept, "asked to stay dense")}
    specs = {name: spec for name, spec in moments.specs.items() if name not in kept}
    bench = _Bench(model, moments, damping)
    coupled = Coupling((), {})
    if selection is not None:
        coupled = coupling(model, moments.example, dense=reasons)
    groups = [
        _group_curve(bench, group, selection, multiple)
        for group in tracked(coupled.groups, "ranking channels", progress, len(coupled.groups))
        if selection is not None
    ]
    found = []
    for name, spec in tracked(specs.items(), "predicting losses", progress, len(specs)):
        options = _layer_options(bench, spec, offered, groups)
        allowed = [o for o in options if _on_grid(o, multiple, least_rank)]
        found.append(Curve(Site(name, (name,)), (*allowed, Option("dense", spec.dense, 0.0))))
    return Curves(
        tuple(found),
        specs,
        _totals(moments),
        reasons,
        moments.fingerprint,
        damping,
        moments.digest,
        tuple(groups),
        coupled.refused,
    )


@dataclass
class _Bench:
    """What the losses are computed from."""

    model: nn.Module
    moments: Moments
    damping: float

    @cached_property
    def layers(self) -> Mapping[str, nn.Module]:
        """Modules by name."""
        return dict(self.model.named_modules())

    def problem(self, name: str) -> Problem:
        """One layer's problem at full width."""
        return problem_of(self.layers[name], name, self.moments, self.damping)


def _totals(moments: Moments) -> dict[str, int]:
    """Cost of the whole network; for costs that only layers know, the sum over the layers."""
    specs = moments.specs.values()
    summed = {name: sum(c.of(s, s.dense) for s in specs) for name, c in COSTS.items()}
    return {**summed, **moments.model_costs}


def _group_curve(
    bench: _Bench, group: ChannelGroup, selection: Selection, multiple: int
) -> GroupCurve:
    """Units in the order in which they are kept, and what keeping so many costs."""
    readings = [reading_of(bench.problem(name), group, name) for name in group.readers]
    order = selection.order(readings)
    losses = nested_removal_losses([reading.reader for reading in readings], order).tolist()
    sizes = [k for k in _sizes(group.size, multiple) if _all_stay(group, order[:k])]
    return GroupCurve(
        group,
        selection.name,
        tuple(order),
        {k: losses[k] for k in sizes},
        _unit_costs(bench, group),
    )


def _sizes(size: int, multiple: int) -> list[int]:
    """Numbers of units to offer: sixteenths, and halves below; multiples where that is asked."""
    wanted = {round(size * part / 16) for part in range(1, 17)} | {1, size // 64, size // 32}
    if multiple > 1:
        wanted = {max(multiple, round(k / multiple) * multiple) for k in wanted}
    return sorted({*(k for k in wanted if 1 <= k < size), size})


def _all_stay(group: ChannelGroup, kept: Sequence[int]) -> bool:
    """Whether every layer of the group keeps something to write and to read."""
    writers, readers = {**group.writers, **group.followers}, group.readers
    return all(group.rows(name, kept) for name in writers) and all(
        group.columns(name, kept) for name in readers
    )


def _unit_costs(bench: _Bench, group: ChannelGroup) -> dict[str, int]:
    """Parameters and bytes of the norms that follow, per unit."""
    norms = [bench.layers[n] for n in group.followers if norm_width(bench.layers[n]) is not None]
    tensors = [p for norm in norms for p in norm.parameters() if p.dim() == 1 and len(p) > 1]
    return {"params": len(tensors), "bytes": sum(p.element_size() for p in tensors)}


def _layer_options(
    bench: _Bench, spec: LayerSpec, methods: Sequence[Method], groups: Sequence[GroupCurve]
) -> Iterator[Option]:
    """A layer's options at full width, and at every width that its groups offer."""
    problem = bench.problem(spec.name)
    yield from _options(problem, spec, methods)
    for narrow in _narrow(problem, spec.name, groups):
        if narrow.piece == problem.piece:
            continue
        yield Option(NARROWED, Form((narrow.piece,)), 0.0)
        if narrow.piece.groups == 1:
            yield from _unbeaten(_options(narrow, spec, methods))


def _narrow(problem: Problem, name: str, groups: Sequence[GroupCurve]) -> Iterator[Problem]:
    """The layer at every combination of widths of the groups it reads and writes."""
    piece = problem.piece
    reads = next((c for c in groups if name in c.group.readers), None)
    writes = next((c for c in groups if name in {**c.group.writers, **c.group.followers}), None)
    rows: dict[int, list[int] | None] = {0: None}
    columns: dict[int, list[int] | None] = {0: None}
    if writes is not None:
        rows = {k: writes.group.rows_left(name, writes.kept(k), piece.outputs) for k in writes.losses}
    if reads is not None:
        columns = {
            k: reads.group.columns_left(name, reads.kept(k), piece.inputs) for k in reads.losses
        }
    if piece.groups > 1:
        for at in rows.values():
            smaller = narrowed_piece(piece, at and len(at))
            yield Problem(smaller, problem.weight, problem.a, problem.g)
        return
    for j, into in columns.items():
        fitted = narrowed_problem(problem, None, into)
        for i, out in rows.items():
            if reads is not writes or i == j:
                yield narrowed_problem(fitted, out, None)


def _options(problem: Problem, spec: LayerSpec, methods: Sequence[Method]) -> list[Option]:
    """What the methods offer for a problem that costs less than to leave it as it is."""
    plain = Form((problem.piece,))
    least = {cost: cost.of(spec, plain) for cost in COSTS.values()}
    return [
        Option(method.name, form, loss)
        for method in methods
        if method.applies(problem.piece)
        for form, loss in method.losses(problem)
        if any(cost.of(spec, form) < most for cost, most in least.items())
    ]


def _unbeaten(options: Sequence[Option]) -> list[Option]:
    """Options that no other beats in loss and size at once."""
    kept: list[Option] = []
    least = float("inf")
    for option in sorted(options, key=lambda o: (o.form.params, o.loss)):
        if option.loss < least:
            kept.append(option)
            least = option.loss
    return kept


def _on_grid(option: Option, multiple: int, least_rank: int) -> bool:
    rank = option.form.rank
    return rank is None or (rank >= least_rank and rank % multiple == 0)
