"""The options of one layer with codes in place of numbers: the layer itself, and its factors.

Widths of factors are chosen one by one, because what they lose adds up. Nothing is rounded here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from eckart.methods import (
    NarrowedLosses,
    Problem,
    Rounding,
    WidthLosses,
    can_have_codes,
    factor_losses,
    methods_named,
)
from eckart.records import Form, LayerSpec, Option
from eckart.records.offered import ROUNDING
from eckart.stages.curves.fronts import spread, unbeaten, unbeaten_factors
from eckart.stages.curves.problems import Bench

_MOST_FORMS = 6  # of a layer's factors that are offered in codes


def coded_options(
    bench: Bench, spec: LayerSpec, factors: Sequence[Option], bits: Sequence[int]
) -> list[Option]:
    """A layer in codes of every width, and some of its factors, each in a width of its own.

    Args:
        bench: what losses are computed from.
        spec: the layer.
        factors: its options without codes.
        bits: widths that are allowed.

    Returns:
        Those that no other beats in loss and bytes at once.
    """
    problem, rounding = bench.problem(spec.name), Rounding()
    found = _whole(bench.cache.state(rounding, problem), bits)
    able = [option for option in factors if can_have_codes(option.form)]
    for option in spread(unbeaten_factors(able), _MOST_FORMS):
        found += _in_codes(bench, problem, option, bits)
    return _best(found, spec.itemsize)


def narrow_in_codes(
    bench: Bench, spec: LayerSpec, narrow: Iterable[Problem], bits: Sequence[int]
) -> Iterator[Option]:
    """A layer that lost channels, in codes of every width.

    Args:
        bench: what losses are computed from.
        spec: the layer.
        narrow: its problems with fewer channels.
        bits: widths that are allowed.

    Returns:
        For each problem, those that no other beats in loss and bytes at once.
    """
    whole, rounding = bench.problem(spec.name), Rounding()
    losses = NarrowedLosses(bench.cache.state(rounding, whole), whole)
    for problem in narrow:
        yield from _best(_whole(losses.of(problem), bits), spec.itemsize)


def _whole(state: WidthLosses, bits: Sequence[int]) -> list[Option]:
    losses = Rounding().losses(state)
    return [Option(ROUNDING, form, loss) for form, loss in losses if set(form.bits) <= {*bits}]


def _best(options: Sequence[Option], itemsize: int) -> list[Option]:
    return unbeaten(options, lambda o: o.loss, lambda o: o.form.stored_bytes(itemsize))


def _in_codes(
    bench: Bench, problem: Problem, option: Option, bits: Sequence[int]
) -> Iterator[Option]:
    """One form in all combinations of widths that no other beats."""
    (method,) = methods_named([option.method])
    weights = method.build(bench.cache.state(method, problem), option.form)
    added = factor_losses(problem, option.form, weights, bits).tolist()
    front: list[tuple[float, int, tuple[int, ...]]] = [(option.loss, 0, ())]
    for piece, losses in zip(option.form.pieces, added, strict=True):
        sizes = [Form((piece,)).in_codes([width]).stored_bytes(0) for width in bits]
        each = list(zip(losses, sizes, bits, strict=True))
        joined = [(a + b, s + t, (*w, v)) for a, s, w in front for b, t, v in each]
        front = unbeaten(joined, lambda o: o[0], lambda o: o[1])
    for loss, _, widths in front:
        yield Option(option.method, option.form.in_codes(widths), loss)
