"""Layers whose weights and activations have 8 bits: what they are expected to lose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from eckart.errors import InputError
from eckart.methods import NarrowedLosses, Problem, Rounding, noise_share, weighing_of
from eckart.network.activation_ranges import ranges_of
from eckart.records import Form, LayerSpec, Option
from eckart.records.offered import ROUNDING
from eckart.records.pieces import ACTIVATIONS
from eckart.stages.curves.problems import Bench


def activation_losses(bench: Bench, specs: Mapping[str, LayerSpec]) -> dict[str, float]:
    """What rounding the activations of each layer is expected to lose, for layers that can.

    Raises:
        InputError: the moments carry no sample to take ranges from.
    """
    if not bench.moments.sample:
        raise InputError("the moments carry no sample to take ranges from: calibrate again")
    able = [name for name, spec in specs.items() if spec.can_round]
    weighing = {name: weighing_of(bench.problem(name)) for name in able}
    found = ranges_of(bench.model, weighing, bench.moments.sample)
    return {name: each.loss for name, each in found.items()}


def in_eight_bits(
    bench: Bench, spec: LayerSpec, narrow: Iterable[Problem], noise: float
) -> Iterator[Option]:
    """A layer at full width and narrower, with weights and activations of 8 bits.

    Args:
        bench: what losses are computed from.
        spec: the layer.
        narrow: its problems with fewer channels.
        noise: what rounding its activations loses at full width.
    """
    whole, rounding = bench.problem(spec.name), Rounding()
    state = bench.cache.state(rounding, whole)
    losses = NarrowedLosses(state, whole)
    yield _option(whole, dict(rounding.losses(state)), noise)
    for problem in narrow:
        codes = dict(rounding.losses(losses.of(problem)))
        yield _option(problem, codes, noise * noise_share(problem, whole))


def _option(problem: Problem, losses: Mapping[Form, float], noise: float) -> Option:
    plain = Form((problem.piece,))
    weights = losses[plain.in_codes((ACTIVATIONS,))]
    rounded = plain.in_codes((ACTIVATIONS,), activations=ACTIVATIONS)
    return Option(ROUNDING, rounded, weights + noise)
