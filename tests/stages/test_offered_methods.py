"""Which methods a budget may use by default: CP where only weights are limited, never for speed."""

import pytest
import torch
from torch import nn

import eckart
from eckart.records.offered import Offered

METHODS = ["weighted_svd", "cp", "spatial", "backward_elimination"]


@pytest.fixture(scope="module")
def curves(network: nn.Module, moments: eckart.Moments) -> eckart.Curves:
    return eckart.curves(network, moments, progress=False)


def in_options(curves: eckart.Curves) -> set[str]:
    return {option.method for curve in curves.curves for option in curve.options}


@pytest.mark.parametrize("limits", [{"params": 0.6}, {"bytes": 0.6}, {"params": 0.6, "bytes": 0.7}])
def test_cp_is_offered_where_nothing_but_weights_is_limited(
    limits: dict[str, float], curves: eckart.Curves
):
    plan = eckart.allocate(curves, eckart.Budget(**limits))
    coded = list(limits) == ["bytes"]
    assert [name for name in plan.offered if name != "rounding"] == METHODS
    assert ("rounding" in plan.offered, "rounding" in plan.withheld) == (coded, not coded)
    assert "cp" in in_options(curves.under(limits))
    assert plan.offered["cp"] == "a default where nothing but params and bytes is limited"
    assert "from weighted_svd, cp, spatial" in str(plan)


@pytest.mark.parametrize("limits", [{"macs": 0.6}, {"params": 0.6, "macs": 0.9}])
def test_cp_is_withheld_where_multiply_adds_are_limited(
    limits: dict[str, float], curves: eckart.Curves
):
    plan = eckart.allocate(curves, eckart.Budget(**limits))
    assert "cp" not in in_options(curves.under(limits)) | plan.offered.keys()
    assert "cp" not in {choice.method for choice in plan.choices.values()}
    why = "is not offered for macs: it saves only params and bytes"
    assert plan.withheld["cp"] == why
    assert plan.withheld.keys() == {"cp", "rounding"}
    assert f"cp {why}" in str(plan)
    assert eckart.Plan.loads(plan.dumps()).withheld == plan.withheld


def test_the_order_of_budgets_does_not_matter(curves: eckart.Curves):
    first = eckart.allocate(curves, eckart.Budget(params=0.6))
    eckart.allocate(curves, eckart.Budget(macs=0.6))
    assert eckart.allocate(curves, eckart.Budget(params=0.6)) == first


def test_what_is_asked_for_is_offered_under_every_budget(
    network: nn.Module, moments: eckart.Moments
):
    curves = eckart.curves(network, moments, methods=["cp", "weighted_svd"], progress=False)
    plan = eckart.allocate(curves, eckart.Budget(macs=0.6))
    assert plan.offered == {"cp": "asked for", "weighted_svd": "asked for"}
    assert not plan.withheld
    assert "cp" in in_options(curves.under(["macs"]))


def test_a_cost_of_ones_own_is_not_among_those_that_cp_pays_for():
    offered = Offered({"cp": "a default"}, only_for={"cp": ("params", "bytes")})
    assert offered.under(["params", "milliseconds"]).methods == {}
    assert offered.under(["params"]).under(["macs"]).withheld.keys() == {"cp"}


def test_compress_says_it_too(network: nn.Module, moments: eckart.Moments):
    done = eckart.compress(network, moments, budget=eckart.Budget(macs=0.6), progress=False)
    assert "cp is not offered for macs" in str(done)


def test_what_limits_do_not_pay_for_is_not_prepared(network: nn.Module, moments: eckart.Moments):
    found = eckart.curves(network, moments, limits="macs", progress=False)
    assert in_options(found).isdisjoint({"cp", "rounding"})
    plan = eckart.allocate(found, eckart.Budget(bytes=0.6))
    assert plan.withheld == dict.fromkeys(
        ["cp", "rounding"], "was not prepared: make curves with limits=['bytes']"
    )
    assert not any(choice.form.bits for choice in plan.choices.values())


def test_codes_are_prepared_for_bytes(network: nn.Module, moments: eckart.Moments):
    found = eckart.curves(network, moments, limits="bytes", progress=False)
    plan = eckart.allocate(found, eckart.Budget(bytes=0.2))
    assert "rounding" in plan.offered
    assert any(choice.form.bits for choice in plan.choices.values())


def test_an_unknown_limit_lists_the_known_ones(network: nn.Module, moments: eckart.Moments):
    with pytest.raises(
        eckart.EckartError, match="unknown cost 'bits'; known: active_params, bytes, macs, params"
    ):
        eckart.curves(network, moments, limits=["bits"], progress=False)


def test_compress_prepares_codes_only_for_bytes():
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 4))
    moments = eckart.calibrate(model, [torch.randn(64, 20)], progress=False)
    for budget in (eckart.Budget(params=0.6), eckart.Budget(bytes=0.2)):
        done = eckart.compress(model, moments, budget=budget, progress=False, latency=False)
        assert ("rounding" in in_options(done.curves)) == ("bytes" in budget.limits)
