"""Pivoted factors, the default of language models, in codes."""

from pathlib import Path

import torch
from torch import nn

from eckart import Budget, Moments, apply, load, save
from eckart.layers import FewBits
from eckart.records import Curves, Plan

METHODS = ("pivoted_svd", "rounding")
LIMIT = Budget(bytes=0.09)
"""Below what two bits for every weight take."""


def inputs() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(256, 6) @ torch.randn(6, 48) + 0.01 * torch.randn(256, 48)


X = inputs()


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(48, 40), nn.Tanh(), nn.Linear(40, 10)).eval()


def test_they_are_offered_with_numbers_pivoted_and_in_codes_whole(options: Curves):
    forms = [o.form for o in options.curves[0].options if o.method == "pivoted_svd"]
    assert any(form.carries and not form.bits for form in forms)
    coded = [form for form in forms if form.bits]
    assert coded
    assert not any(form.carries for form in coded)


def test_a_budget_below_two_bits_is_met_by_them(plan: Plan, smaller: nn.Module):
    chosen = plan.choices["0"]
    assert chosen.method == "pivoted_svd"
    assert len(chosen.form.bits) == 2
    stored = sum(tensor.nbytes for tensor in smaller.state_dict().values())
    assert stored == plan.costs["bytes"] <= LIMIT.bytes * plan.totals["bytes"]
    assert all(isinstance(module, FewBits) for module in smaller[0])


def test_the_output_changes_about_as_predicted(plan: Plan, smaller: nn.Module):
    change = 0.5 * (smaller(X) - network()(X)).square().sum(1).mean()
    assert 0.5 < change / plan.loss < 2


def test_it_loads_to_the_bit(smaller: nn.Module, tmp_path: Path):
    save(smaller, tmp_path)
    assert torch.equal(load(network(), tmp_path)(X), smaller(X))


def test_a_plan_from_a_file_gives_the_same_network(
    plan: Plan, smaller: nn.Module, moments: Moments
):
    again = apply(network(), Plan.loads(plan.dumps()), moments)
    assert torch.equal(again(X), smaller(X))
