"""Depthwise convolutions that lose channels, in codes."""

from pathlib import Path

import torch
from torch import nn

from eckart import Budget, Moments, apply, load, save
from eckart.layers import FewBits, as_matrix
from eckart.linalg import quadratic_loss
from eckart.methods import heirs, narrowed_problem, problem_of, reading_of, unit_moment
from eckart.records import Curves, Plan

X = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
METHODS = ("backward_elimination", "rounding")
LIMIT = Budget(bytes=0.12)
DEPTHWISE = "2"


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 24, 1), nn.ReLU(), nn.Conv2d(24, 24, 3, padding=1, groups=24), nn.ReLU()),
        *(nn.Conv2d(24, 16, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(16, 10),
    ).eval()


def test_every_number_of_channels_has_codes(options: Curves):
    (curve,) = (c for c in options.curves if c.site.name == DEPTHWISE)
    coded = {o.form.pieces[0].groups for o in curve.options if o.form.bits}
    assert coded == {o.form.pieces[0].groups for o in curve.options}
    assert len(coded) > 5


def test_it_loses_channels_and_has_codes(plan: Plan, smaller: nn.Module):
    (piece,) = plan.choices[DEPTHWISE].form.pieces
    assert piece.is_depthwise
    assert piece.groups < 24
    assert piece.bits
    stored = sum(tensor.nbytes for tensor in smaller.state_dict().values())
    assert stored == plan.costs["bytes"] <= LIMIT.bytes * plan.totals["bytes"]
    found = smaller.get_submodule(DEPTHWISE)[0]
    assert isinstance(found, FewBits)
    assert found.piece == piece


def test_codes_are_those_of_the_channels_that_stay(
    plan: Plan, smaller: nn.Module, moments: Moments
):
    (removal,) = (r for r in plan.removals.values() if DEPTHWISE in r.group.followers)
    found = as_matrix(smaller.get_submodule(DEPTHWISE).merge())
    whole = as_matrix(network().get_submodule(DEPTHWISE))[list(removal.kept)]
    assert (found - whole).norm() < 0.4 * whole.norm()
    assert (found - whole.roll(1, 0)).norm() > whole.norm()


def test_the_loss_is_about_what_was_predicted(plan: Plan, smaller: nn.Module, moments: Moments):
    dense = dict(network().named_modules())
    (removal,) = (r for r in plan.removals.values() if DEPTHWISE in r.group.followers)
    own = {
        name: problem_of(dense[name], name, moments, plan.damping, plan.shrunk.get(name))
        for name in (DEPTHWISE, *removal.group.readers)
    }
    readings = [reading_of(own[name], removal.group, name) for name in removal.group.readers]
    stay = heirs(removal.group, DEPTHWISE, lambda: unit_moment(readings), removal.kept, 24)
    problem = narrowed_problem(own[DEPTHWISE], stay, None)
    assert torch.equal(problem.a, own[DEPTHWISE].a[list(removal.kept)])
    assert (problem.g >= own[DEPTHWISE].g[list(removal.kept)]).all()
    matrix = as_matrix(smaller.get_submodule(DEPTHWISE).merge()).double()
    lost = quadratic_loss(problem.weight - matrix, problem.a, problem.g)
    assert 0.5 < plan.choices[DEPTHWISE].loss / lost < 2


def test_it_loads_to_the_bit(smaller: nn.Module, tmp_path: Path):
    save(smaller, tmp_path)
    assert torch.equal(load(network(), tmp_path)(X), smaller(X))


def test_a_plan_from_a_file_gives_the_same_network(
    plan: Plan, smaller: nn.Module, moments: Moments
):
    again = apply(network(), Plan.loads(plan.dumps()), moments)
    assert torch.equal(again(X), smaller(X))
