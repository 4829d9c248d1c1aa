"""The options of one layer, at every width that its channel groups offer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from eckart.costs import COSTS
from eckart.layers import narrowed_piece
from eckart.methods import Heirs, Method, Problem, heirs, narrowed_problem
from eckart.records import Form, GroupCurve, LayerSpec, Option
from eckart.records.plans import NARROWED
from eckart.stages.curves.bench import Bench


def layer_options(
    bench: Bench, spec: LayerSpec, methods: Sequence[Method], groups: Sequence[GroupCurve]
) -> Iterator[Option]:
    """A layer's options at full width, and at every width that its groups offer."""
    problem = bench.problem(spec.name)
    yield from _options(problem, spec, methods)
    for narrow in _narrow(bench, spec, groups):
        if narrow.piece == problem.piece:
            continue
        yield Option(NARROWED, Form((narrow.piece,)), 0.0)
        if len(narrow.weight) == 1:  # a depthwise convolution is not factored as well
            yield from _unbeaten(_options(narrow, spec, methods))


def _narrow(bench: Bench, spec: LayerSpec, groups: Sequence[GroupCurve]) -> Iterator[Problem]:
    """The layer at every combination of widths of the groups it reads and writes."""
    name, problem = spec.name, bench.problem(spec.name)
    piece = problem.piece
    reads = next((c for c in groups if name in c.group.readers), None)
    writes = next((c for c in groups if name in c.group.writers), None)
    follows = next((c for c in groups if name in c.group.followers), None)
    if follows is not None:
        for size in follows.sizes:
            left = follows.group.rows_left(name, follows.kept(size), piece.outputs)
            yield replace(problem, piece=narrowed_piece(piece, len(left)))
        return
    into: dict[int, list[int] | None] = {0: None}
    out: dict[int, Heirs | None] = {0: None}
    if reads is not None:
        into = {k: reads.group.columns_left(name, reads.kept(k), piece.inputs) for k in reads.sizes}
    if writes is not None:
        group, readings = writes.group, bench.readings(writes.group)
        out = {k: heirs(group, name, readings, writes.kept(k), piece.outputs) for k in writes.sizes}
    for j, columns in into.items():
        fitted = narrowed_problem(problem, None, columns)
        for i, outputs in out.items():
            if reads is not writes or i == j:
                yield narrowed_problem(fitted, outputs, None)


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
