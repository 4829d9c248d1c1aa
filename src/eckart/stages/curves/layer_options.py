"""The options of one layer at every width that its channel groups offer."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby, product
from typing import Any

from eckart.costs import costs_told_by
from eckart.layers import narrowed_piece
from eckart.methods import Foreseeing, Method, Problem, heirs, narrowed_problem, unit_moment
from eckart.records import Form, GroupCurve, LayerSpec, Option, Piece
from eckart.records.plans import NARROWED
from eckart.stages.curves.codes import narrow_in_codes
from eckart.stages.curves.eight_bits import in_eight_bits
from eckart.stages.curves.fronts import unbeaten_factors
from eckart.stages.curves.problems import Bench

_MOST_WORK = 6e9  # multiplications for all narrower widths of one layer, roughly
_OF_A_MATRIX = 2.2e10  # the same where there is no kernel, so one decomposition for each width
_MOST_WIDTHS = 64  # of one layer, at which it is factored; half as many sizes of two groups do
_FEW_OF_THE_BEST = 1 / 8  # a method with a smaller share is not asked at other widths
_STEPS = 24  # of the size of a narrower layer, in which its factors are offered
_Widths = tuple[int | None, int | None]
"""Numbers of units that stay in the groups that a layer reads and writes; None without a group."""


def whole_options(bench: Bench, spec: LayerSpec, method: Method, state: Any) -> list[Option]:
    """A layer's options at full width by one method, from what it prepared."""
    return _options(bench.problem(spec.name), spec, [method], lambda *_: state)


def useful_methods(
    methods: Sequence[Method], options: Sequence[Option], unsure: Collection[str] = ()
) -> list[Method]:
    """The methods to ask at other widths: those with a good share of the best options.

    The best options are on the lower convex hull of loss against parameters, where all optima of a
    budget are. On ResNet-20 most are of CP, which has nothing for narrower layers; spatial factors
    of these lower the loss of plans by at most 0.2 %.

    Args:
        methods: those that are offered.
        options: theirs, at full width.
        unsure: methods that a budget may leave out. They are not asked, and beat no others.
    """
    certain = {method.name for method in methods} - {*unsure}
    best = [option.method for option in _hulled([o for o in options if o.method in certain])]
    useful = {name for name in certain if best.count(name) > len(best) * _FEW_OF_THE_BEST}
    return [method for method in methods if method.name in useful]


def rounded_options(
    bench: Bench, spec: LayerSpec, groups: Sequence[GroupCurve], noise: float
) -> Iterator[Option]:
    """A layer with weights and activations of 8 bits, at all widths that its groups offer."""
    yield from in_eight_bits(bench, spec, _Ends.of(bench, spec.name, groups).problems(1), noise)


def narrow_options(
    bench: Bench,
    spec: LayerSpec,
    methods: Sequence[Method],
    groups: Sequence[GroupCurve],
    allowed: Callable[[Form], bool],
    bits: Sequence[int] = (),
) -> Iterator[Option]:
    """A layer's options at all other widths that its groups offer.

    Every width has the plain layer as an option. Factors are offered at fewer widths the larger the
    layer is, and the more widths there are; in a few sizes each, and only in allowed forms. On
    ResNet-20 the few sizes cost up to 0.4 % of the predicted loss, for two fifths fewer options.
    On FSRCNN, whose layers are between two groups, the fewer widths cost nothing. If
    there are ``bits``, the layer is offered in codes of these at all widths, or at fewer if it is
    large.
    """
    ends = _Ends.of(bench, spec.name, groups)
    for piece in ends.narrower(1):
        yield Option(NARROWED, Form((piece,)), 0.0)
    factored = ends.problem.piece.groups == 1  # a depthwise convolution is not factored as well
    for narrow in ends.problems(ends.step_of_factors()) if factored else ():
        step = narrow.piece.params / _STEPS
        options = _foreseen(narrow, spec, methods, allowed, step / 2)
        yield from _spaced(unbeaten_factors(options), step)
    if bits:
        yield from narrow_in_codes(bench, spec, ends.problems(ends.step_of_codes()), bits)


@dataclass(frozen=True)
class _Ends:
    """A layer between the groups that it reads and writes; a follower writes what it reads.

    ``columns`` and ``rows`` are the channels left, by number of units that stay, starting with all
    units. Without a group they have a single entry, for None.
    """

    bench: Bench
    name: str
    problem: Problem
    reads: GroupCurve | None
    writes: GroupCurve | None
    columns: Mapping[int | None, list[int] | None]
    rows: Mapping[int | None, list[int] | None]

    @classmethod
    def of(cls, bench: Bench, name: str, groups: Sequence[GroupCurve]) -> _Ends:
        problem = bench.problem(name)
        inputs, outputs = problem.piece.inputs, problem.piece.outputs
        columns: dict[int | None, list[int] | None] = {None: None}
        rows = dict(columns)
        reads = next((c for c in groups if name in c.group.readers), None)
        writes = next((c for c in groups if name in {**c.group.writers, **c.group.followers}), None)
        if reads is not None:
            left = reads.group.columns_left
            columns = {k: left(name, reads.kept(k), inputs) for k in reads.sizes[::-1]}
        if writes is not None:
            left = writes.group.rows_left
            rows = {k: left(name, writes.kept(k), outputs) for k in writes.sizes[::-1]}
        return cls(bench, name, problem, reads, writes, columns, rows)

    def widths(self, step: int = 1) -> list[_Widths]:
        """All pairs of sizes, or of every ``step``-th size per group, from the full size down."""
        pairs = product(list(self.columns)[::step], list(self.rows)[::step])
        return [(j, i) for j, i in pairs if self.reads is not self.writes or i == j]

    def piece(self, widths: _Widths) -> Piece:
        """What is left of the layer."""
        columns, rows = self.columns[widths[0]], self.rows[widths[1]]
        return narrowed_piece(
            self.problem.piece,
            None if rows is None else len(rows),
            None if columns is None else len(columns),
        )

    def step_of_factors(self) -> int:
        """Which ``widths`` the layer is factored at: few enough, and not too much work."""

        def too_much(step: int) -> bool:
            cubes = (
                (p.inputs * math.prod(p.kernel) + p.outputs * max(p.kernel, default=1)) ** 3
                for p in self.narrower(step)
            )
            most = _MOST_WORK if self.problem.piece.kernel else _OF_A_MATRIX
            return len(self.widths(step)) > _MOST_WIDTHS or sum(cubes) > most

        return _step(too_much)

    def step_of_codes(self) -> int:
        """Which it is offered in codes at: each side is decomposed once for each of its sizes."""

        def too_much(step: int) -> bool:
            shapes = [piece.moment_shape[1:] for piece in self.narrower(step)]
            work: float = sum(n**3 for side in zip(*shapes, strict=True) for n in {*side})
            return work > _MOST_WORK

        return _step(too_much)

    def narrower(self, step: int) -> list[Piece]:
        """What is left of the layer at ``widths(step)``, where it is not all of it."""
        pieces = (self.piece(widths) for widths in self.widths(step))
        return [piece for piece in pieces if piece != self.problem.piece]

    def problems(self, step: int) -> Iterator[Problem]:
        """The layer at ``widths(step)``, where it is not all of it."""
        shares = {}
        if self.writes is not None:
            group, outputs = self.writes.group, self.problem.piece.outputs
            readings = self.bench.readings(group)
            moment = cache(lambda: unit_moment(readings))
            for size in self.writes.sizes[::-step]:
                kept = self.writes.kept(size)
                shares[size] = heirs(group, self.name, moment, kept, outputs)
        behind = {out: narrowed_problem(self.problem, share, None) for out, share in shares.items()}
        for into, together in groupby(self.widths(step), key=lambda widths: widths[0]):
            fitted = narrowed_problem(self.problem, None, self.columns[into])
            for _, out in together:
                narrow = fitted
                if out is not None:
                    narrow = narrowed_problem(fitted, shares[out], None, alike=behind[out])
                if narrow.piece != self.problem.piece:
                    yield narrow


def _step(too_much: Callable[[int], bool]) -> int:
    """The smallest power of two that is not too much."""
    step = 1
    while too_much(step):
        step *= 2
    return step


def _foreseen(
    problem: Problem,
    spec: LayerSpec,
    methods: Sequence[Method],
    allowed: Callable[[Form], bool],
    step: float,
) -> list[Option]:
    """Options of a narrower layer, a step of parameters apart where a method tells them by rank.

    No state is kept: a layer has hundreds of widths, and a plan takes only one.
    """
    cheaper = _cheaper(problem, spec)

    def fits(form: Form) -> bool:
        return allowed(form) and cheaper(form)

    asked = (method for method in methods if method.applies(problem.piece))
    return [
        Option(method.name, form, loss)
        for method in asked
        for form, loss in _losses(method, problem, fits, step)
    ]


def _losses(
    method: Method, problem: Problem, fits: Callable[[Form], bool], step: float
) -> Iterator[tuple[Form, float]]:
    """Forms that fit, with their losses."""
    if isinstance(method, Foreseeing):
        for ranks in method.foreseen(problem):
            yield from ranks.spaced(step, fits)
    else:
        losses = method.losses(method.prepare(problem))
        yield from ((form, loss) for form, loss in losses if fits(form))


def _options(
    problem: Problem,
    spec: LayerSpec,
    methods: Sequence[Method],
    state_of: Callable[[Method, Problem], Any],
) -> list[Option]:
    """What the methods offer for a problem, if it is cheaper by some cost than the plain layer."""
    cheaper = _cheaper(problem, spec)
    return [
        Option(method.name, form, loss)
        for method in methods
        if method.applies(problem.piece)
        for form, loss in method.losses(state_of(method, problem))
        if cheaper(form)
    ]


def _cheaper(problem: Problem, spec: LayerSpec) -> Callable[[Form], bool]:
    """Whether a form costs less than the plain layer, by some cost."""
    plain = Form((problem.piece,))
    least = {cost: cost.of(spec, plain) for cost in costs_told_by([spec]).values()}
    return lambda form: any(cost.of(spec, form) < most for cost, most in least.items())


def _hulled(options: Sequence[Option]) -> list[Option]:
    """Options on the lower convex hull of loss against parameters, the smallest first."""
    hull: list[Option] = []
    for option in unbeaten_factors(options):
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) <= _slope(hull[-1], option):
            hull.pop()
        hull.append(option)
    return hull


def _slope(small: Option, large: Option) -> float:
    """Loss saved per parameter from one option to a larger one."""
    return (small.loss - large.loss) / (large.form.params - small.form.params)


def _spaced(options: Sequence[Option], step: float) -> Iterator[Option]:
    """Of options by ascending size, those that are at least a step apart."""
    size = -step
    for option in options:
        if option.form.params >= size + step:
            size = option.form.params
            yield option
