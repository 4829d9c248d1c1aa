"""Factors in codes: chosen under a budget of bytes, refined, rounded, kept in files."""

from pathlib import Path

import pytest
import torch
from torch import nn

from eckart import Budget, Moments, allocate, apply, compress, curves, load, merge, save
from eckart.errors import BudgetError
from eckart.layers import FewBits
from eckart.records import Curves, Plan

X = torch.randn(64, 12, 8, 8, generator=torch.Generator().manual_seed(0))
METHODS = ("weighted_svd", "cp", "rounding")
LIMIT = Budget(bytes=0.06)
"""Below what two bits for every weight take."""


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3, stride=2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(12 * 9, 10)),
    ).eval()


def coded(model: nn.Module) -> list[FewBits]:
    return [module for module in model.modules() if isinstance(module, FewBits)]


def test_a_budget_below_two_bits_is_met_by_factors_in_codes(plan: Plan, smaller: nn.Module):
    chains = [c.form for c in plan.choices.values() if len(c.form.pieces) > 1]
    assert chains
    assert all(len(form.bits) == len(form.pieces) for form in chains)
    stored = sum(tensor.nbytes for tensor in smaller.state_dict().values())
    assert stored == plan.costs["bytes"] <= LIMIT.bytes * plan.totals["bytes"]
    assert len(coded(smaller)) == sum(len(c.form.pieces) for c in plan.choices.values())


def test_every_piece_has_a_width_of_its_own(options: Curves):
    widths = {o.form.bits for curve in options.curves for o in curve.options if o.method == "cp"}
    assert any(len(set(bits)) > 1 for bits in widths)


def test_no_option_in_codes_is_beaten_by_another(options: Curves):
    for curve in options.curves:
        item = options.specs[curve.site.name].itemsize
        found = [(o.form.stored_bytes(item), o.loss) for o in curve.options if o.form.bits]
        assert found == sorted(found)
        assert [loss for _, loss in found] == sorted((loss for _, loss in found), reverse=True)


def test_it_loads_to_the_bit(smaller: nn.Module, tmp_path: Path):
    save(smaller, tmp_path)
    again = load(network(), tmp_path)
    assert torch.equal(again(X), smaller(X))
    assert [layer.piece for layer in coded(again)] == [layer.piece for layer in coded(smaller)]


def test_merged_it_is_plain_and_computes_the_same(smaller: nn.Module):
    whole = merge(smaller)
    assert [type(m) for m in whole] == [type(m) for m in network()]
    torch.testing.assert_close(whole(X), smaller(X), rtol=1e-4, atol=1e-5)


def test_a_plan_from_a_file_gives_the_same_network(
    plan: Plan, smaller: nn.Module, moments: Moments
):
    again = apply(network(), Plan.loads(plan.dumps()), moments)
    assert torch.equal(again(X), smaller(X))


def test_the_loss_of_what_was_built_is_recorded(plan: Plan, smaller: nn.Module):
    done = smaller.eckart_plan
    assert done.refined.keys() == plan.choices.keys()
    assert 0.3 * plan.loss < done.refined_loss < 3 * plan.loss


def test_compress_learns_from_codes_apart_from_numbers(moments: Moments):
    done = compress(
        network(), moments, budget=LIMIT, methods=METHODS, progress=False, latency=False
    )
    alone = apply(network(), allocate(done.curves, LIMIT), moments).eckart_plan
    assert done.plan.refined_loss <= alone.refined_loss * (1 + 1e-9)


def test_curves_that_know_no_limits_say_how_to_get_them(moments: Moments):
    options = curves(network(), moments, methods=METHODS, progress=False)
    with pytest.raises(BudgetError, match="curves with limits='bytes', which keep factors"):
        allocate(options, LIMIT)
