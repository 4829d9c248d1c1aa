"""The options that are offered: grids of ranks, patterns of layers to leave dense."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from eckart import Curves, Moments, calibrate, curves
from eckart.costs import COSTS
from eckart.errors import InputError
from eckart.layers import composed
from eckart.methods import Problem, methods_named, problem_of
from eckart.methods.low_rank import low_rank_form
from eckart.records import Offer, Option, Piece
from eckart.stages.curves.layer_options import useful_methods
from stages.networks import SmallCnn
from tolerances import tolerance


@pytest.fixture(scope="module")
def model() -> SmallCnn:
    torch.manual_seed(0)
    return SmallCnn()


@pytest.fixture(scope="module")
def moments(model: SmallCnn) -> Moments:
    return calibrate(model, [torch.randn(8, 3, 9, 8)])


def ranks(options: Curves, layer: str) -> set[int | None]:
    (curve,) = (curve for curve in options.curves if curve.site.name == layer)
    return {option.form.rank for option in curve.options}


def test_dense_is_always_an_option_at_no_loss(model: SmallCnn, moments: Moments):
    for curve in curves(model, moments).curves:
        assert curve.options[-1].form.is_plain
        assert curve.options[-1].loss == 0
        assert curve.options[-1].form == moments.specs[curve.site.name].dense


def test_every_other_option_is_cheaper_in_some_cost(model: SmallCnn, moments: Moments):
    for curve in curves(model, moments).curves:
        spec = moments.specs[curve.site.name]
        for option in curve.options[:-1]:
            pairs = [
                (cost.of(spec, option.form), cost.of(spec, spec.dense)) for cost in COSTS.values()
            ]
            assert any(ours < theirs for ours, theirs in pairs)


def test_ranks_on_a_grid(model: SmallCnn, moments: Moments):
    nested = ["weighted_svd", "spatial"]
    every = ranks(curves(model, moments, methods=nested), "conv2") - {None}
    assert every == set(range(1, max(every) + 1))
    for multiple, least in ((2, 1), (1, 3), (2, 3), (1000, 1)):
        offer = Offer(methods=nested, multiple=multiple, least_rank=least)
        found = ranks(curves(model, moments, offer=offer), "conv2")
        assert found == {None, *(r for r in every if r >= least and r % multiple == 0)}


def test_layers_to_leave_dense(model: SmallCnn, moments: Moments):
    options = curves(model, moments, dense=["conv*", "fc1"])
    assert [curve.site.name for curve in options.curves] == ["fc2"]
    assert {k for k, v in options.dense.items() if v == "asked to stay dense"} == {
        "conv1",
        "conv2",
        "fc1",
    }
    assert options.totals == moments.model_costs


def test_an_unknown_layer_to_leave_dense(model: SmallCnn, moments: Moments):
    with pytest.raises(InputError, match="no layer matches 'head'; layers are: conv1"):
        curves(model, moments, dense=["head"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"multiple": 0}, "multiple=0: expected a whole number from 1"),
        ({"multiple": True}, "multiple=True: expected a whole number from 1"),
        ({"damping": True}, "damping=True: expected 'auto' or a positive number"),
        ({"least_rank": 1.5}, "least_rank=1.5: expected a whole number from 1"),
        ({"damping": 0.0}, "damping=0.0: expected 'auto' or a positive number"),
        ({"methods": None}, "methods=None: expected a name, or several as a list"),
        ({"limits": [3]}, r"limits=\[3\]: expected a name, or several as a list"),
    ],
)
def test_an_offer_that_cannot_be_meant(
    model: SmallCnn, moments: Moments, wrong: dict[str, Any], message: str
):
    with pytest.raises(InputError, match=message):
        curves(model, moments, **wrong)


def test_numbers_of_numpy_are_taken_as_those_of_python():
    three, eight, part = np.int64(3), np.int32(8), np.float32(0.5)
    found = Offer(multiple=eight, least_rank=three, bits=[eight, three], damping=part)
    assert found == Offer(multiple=8, least_rank=3, bits=[3, 8], damping=0.5)
    numbers = [found.multiple, found.least_rank, *found.widths, found.activations, found.damping]
    assert [type(number) for number in numbers] == [int, int, int, int, int, float]


def test_an_unknown_method_lists_the_known_ones(model: SmallCnn, moments: Moments):
    with pytest.raises(InputError, match=r"unknown method 'tt'; known: .*weighted_svd"):
        curves(model, moments, methods=["tt"])


def test_losses_fall_with_the_rank(model: SmallCnn, moments: Moments):
    for curve in curves(model, moments, methods=["weighted_svd"]).curves:
        by_rank = [option.loss for option in curve.options]
        assert by_rank == sorted(by_rank, reverse=True)


def test_without_a_metric_no_gradients_moment_is_needed():
    torch.manual_seed(0)
    model, batches = SmallCnn(), [torch.randn(8, 3, 9, 8)]
    moments = calibrate(model, batches, metric=None)
    for name, spec in moments.specs.items():
        problem = problem_of(model.get_submodule(name), name, moments)
        whole = Problem(problem.piece, problem.weight, problem.a, problem.g)
        assert torch.equal(
            problem.g, problem.g_scale * torch.eye(spec.piece.outputs).double()[None]
        )
        (method,) = methods_named(["weighted_svd"])
        states = [method.prepare(p) for p in (problem, whole)]
        short, long = (method.losses(state) for state in states)
        assert [form for form, _ in short] == [form for form, _ in long]
        losses = [torch.tensor([loss for _, loss in found]) for found in (short, long)]
        torch.testing.assert_close(*losses, rtol=1e-9, atol=1e-12 * float(losses[1].max()))
        half = short[len(short) // 2][0]
        products = [composed(method.build(state, half), half) for state in states]
        torch.testing.assert_close(*products, **tolerance(torch.float32))  # as factors are kept


def test_methods_that_are_beaten_everywhere_are_not_asked_again():
    piece = Piece(8, 8)
    sizes = {rank: low_rank_form(piece, rank) for rank in (1, 2, 3)}
    beaten = [Option("weighted_svd", form, 4.0 - rank) for rank, form in sizes.items()]
    better = [replace(o, method="pivoted_svd", loss=o.loss / 2) for o in beaten]
    methods = methods_named(["weighted_svd", "pivoted_svd"])
    assert [m.name for m in useful_methods(methods, beaten + better)] == ["pivoted_svd"]
    assert useful_methods(methods, beaten + better[:1]) == methods
    assert useful_methods(methods, []) == []


def test_methods_of_few_of_the_best_options_are_not_asked_again():
    """Of nine options on the hull, eight are of one method; between two of these, others lie."""
    piece = Piece(64, 64)
    losses = {rank: 2.0 ** (9 - rank) for rank in range(1, 10)}
    best = [Option("weighted_svd", low_rank_form(piece, r), loss) for r, loss in losses.items()]
    between = Option("pivoted_svd", low_rank_form(piece, 4), losses[4] * 0.99)
    methods = methods_named(["weighted_svd", "pivoted_svd"])
    assert [m.name for m in useful_methods(methods, [*best, between])] == ["weighted_svd"]
    unsure = useful_methods(methods, [*best, between], unsure=["weighted_svd"])
    assert [m.name for m in unsure] == ["pivoted_svd"]


def test_a_layer_between_two_groups_is_factored_at_few_of_its_widths():
    """Twelve sizes of either group are 144 pairs; the plain layer is offered at all of them."""
    wide = [torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64), torch.nn.ReLU()]
    network = torch.nn.Sequential(torch.nn.Linear(8, 64), *wide, torch.nn.Linear(64, 4)).eval()
    moments = calibrate(network, [torch.randn(32, 8)], progress=False)
    options = curves(network, moments, progress=False).curves[1].options
    ends = [(o.form.pieces[0].inputs, o.form.pieces[-1].outputs) for o in options]
    plain = {widths for widths, o in zip(ends, options, strict=True) if o.form.is_plain}
    factored = {w for w, o in zip(ends, options, strict=True) if len(o.form.pieces) > 1}
    assert len(plain) > 100
    assert 30 < len(factored) <= 64


def test_narrower_layers_are_factored_in_a_few_sizes():
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 48, 3), torch.nn.ReLU(), torch.nn.Conv2d(48, 32, 3)
    )
    moments = calibrate(network, [torch.randn(8, 3, 7, 7)], metric="logits")
    (curve,) = (c for c in curves(network, moments).curves if c.site.name == "2")
    sizes: dict[int, list[int]] = {}
    for option in curve.options:
        if len(option.form.pieces) > 1 and option.form.pieces[0].inputs < 48:
            sizes.setdefault(option.form.pieces[0].inputs, []).append(option.form.params)
    assert sizes
    for inputs, params in sizes.items():
        step = (inputs * 32 * 9 + 32) / 24
        gaps = [b - a for a, b in pairwise(sorted(params))]
        assert min(gaps, default=step) >= step
