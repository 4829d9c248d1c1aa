"""Layers that lose channels, in codes: chosen under a budget of bytes, built, and kept in files."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from eckart import Budget, Moments, allocate, apply, curves, load, save
from eckart.layers import FewBits, as_matrix
from eckart.linalg import quadratic_loss
from eckart.methods import (
    NarrowedLosses,
    Problem,
    Rounding,
    heirs,
    narrowed_problem,
    problem_of,
    reading_of,
    unit_moment,
)
from eckart.records import Curves, Option, Plan
from eckart.records.plans import NARROWED
from eckart.stages.curves import layer_options

X = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
METHODS = ("backward_elimination", "rounding")
LIMIT = Budget(bytes=0.04)
"""Below what two bits for every weight take, so that channels must go."""


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 32, 3, stride=2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(32 * 9, 40), nn.ReLU(), nn.Linear(40, 10)),
    ).eval()


def narrowed(plan: Plan, moments: Moments) -> Mapping[str, Problem]:
    """The problems of layers that lost channels, as the plan leaves them."""
    own = {
        name: problem_of(layer, name, moments, plan.damping, plan.shrunk.get(name))
        for name, layer in network().named_modules()
        if name in plan.choices
    }
    found = dict(own)
    for removal in plan.removals.values():
        group, kept = removal.group, removal.kept
        for name in group.readers:
            columns = group.columns_left(name, kept, own[name].piece.inputs)
            found[name] = narrowed_problem(found[name], None, columns)
    for removal in plan.removals.values():
        group, kept = removal.group, removal.kept
        readings = [reading_of(own[name], group, name) for name in group.readers]
        for name in group.writers:
            stays = heirs(
                group, name, partial(unit_moment, readings), kept, own[name].piece.outputs
            )
            found[name] = narrowed_problem(found[name], stays, None)
    return {name: problem for name, problem in found.items() if problem is not own[name]}


def in_codes(options: Curves) -> list[tuple[str, Option]]:
    """Layers in codes that lost channels, by layer."""
    return [
        (curve.site.name, option)
        for curve in options.curves
        for option in curve.options
        if option.form.bits and option.form.uncoded != options.specs[curve.site.name].dense
    ]


def test_a_budget_below_two_bits_is_met_by_fewer_channels_in_codes(
    plan: Plan, smaller: nn.Module, moments: Moments
):
    assert len(narrowed(plan, moments)) >= 2
    assert all(choice.form.bits for choice in plan.choices.values())
    stored = sum(tensor.nbytes for tensor in smaller.state_dict().values())
    assert stored == plan.costs["bytes"] <= LIMIT.bytes * plan.totals["bytes"]
    for name, choice in plan.choices.items():
        assert smaller.get_submodule(name)[0].piece == choice.form.pieces[0]


def test_codes_of_what_is_left_lose_about_what_was_predicted(
    plan: Plan, smaller: nn.Module, moments: Moments
):
    for name, problem in narrowed(plan, moments).items():
        matrix = as_matrix(smaller.get_submodule(name).merge()).double()
        lost = quadratic_loss(problem.weight - matrix, problem.a, problem.g)
        assert 0.5 < plan.choices[name].loss / lost < 2


def test_losses_of_fewer_channels_are_scaled_from_those_of_all(plan: Plan, moments: Moments):
    """A layer of 288 inputs has two spans; one of 36 has a scale for each row alone."""
    rounding, spans = Rounding(), set()
    for name, problem in narrowed(plan, moments).items():
        layer = network().get_submodule(name)
        whole = problem_of(layer, name, moments, plan.damping, plan.shrunk.get(name))
        scaled = NarrowedLosses(rounding.prepare(whole), whole).of(problem).losses
        exact = rounding.prepare(problem).losses
        assert scaled.shape == exact.shape
        spans.add(exact.shape[1])
        assert (scaled / exact).min() > 0.6
        assert (scaled / exact).max() < 1.6
    assert 1 in spans


def test_a_large_layer_is_in_codes_at_fewer_widths(
    options: Curves, moments: Moments, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(layer_options, "_MOST_WORK", 1e6)
    few = curves(network(), moments, methods=METHODS, limits="bytes", progress=False)
    counts = [
        {name: len({o.form.uncoded for n, o in in_codes(c) if n == name}) for name in few.specs}
        for c in (few, options)
    ]
    assert counts[0]["5"] < counts[1]["5"] / 4
    assert counts[0]["7"] == counts[1]["7"] > 5
    plain = [sum(o.method == NARROWED for o in c.curves[2].options) for c in (few, options)]
    assert plain[0] == plain[1]


def test_it_loads_to_the_bit(smaller: nn.Module, tmp_path: Path):
    save(smaller, tmp_path)
    again = load(network(), tmp_path)
    assert torch.equal(again(X), smaller(X))
    pieces = [[m.piece for m in n.modules() if isinstance(m, FewBits)] for n in (again, smaller)]
    assert pieces[0] == pieces[1]
    assert len(pieces[0]) == 4


def test_a_plan_from_a_file_gives_the_same_network(
    plan: Plan, smaller: nn.Module, moments: Moments
):
    again = apply(network(), Plan.loads(plan.dumps()), moments)
    assert torch.equal(again(X), smaller(X))


def test_a_narrower_layer_has_the_widths_that_were_asked_for(moments: Moments):
    found = in_codes(
        curves(network(), moments, methods=METHODS, bits=[3, 5], limits="bytes", progress=False)
    )
    assert {bits for _, option in found for bits in option.form.bits} == {3, 5}


def test_no_codes_are_offered_at_one_width_that_another_beats(options: Curves):
    by_width: dict[object, list[tuple[int, float]]] = {}
    for name, option in in_codes(options):
        size = option.form.stored_bytes(options.specs[name].itemsize)
        by_width.setdefault((name, option.form.uncoded), []).append((size, option.loss))
    assert len(by_width) > 100
    for found in by_width.values():
        assert found == sorted(found)
        assert [loss for _, loss in found] == sorted((loss for _, loss in found), reverse=True)


@pytest.mark.parametrize("limits", [{"params": 0.5}, {"params": 0.7, "macs": 0.5}], ids=str)
def test_budgets_without_bytes_are_as_before(
    options: Curves, moments: Moments, limits: dict[str, float]
):
    alone = curves(network(), moments, methods=METHODS[:1], limits="bytes", progress=False)
    found, plain = (allocate(offered, Budget(**limits)) for offered in (options, alone))
    assert found.removals == plain.removals
    assert not any(choice.form.bits for choice in found.choices.values())
    assert found.loss == plain.loss
