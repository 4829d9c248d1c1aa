"""Factors of the size that was chosen are refined when a plan is applied."""

import pytest
import torch
from torch import Tensor, nn

import eckart
from eckart.layers import as_matrix
from eckart.linalg import quadratic_loss
from eckart.methods import Cache, problem_of
from eckart.stages.apply import applied


def plan_of(network: nn.Module, moments: eckart.Moments, method: str) -> eckart.Plan:
    curves = eckart.curves(network, moments, methods=[method], progress=False)
    return eckart.allocate(curves, eckart.Budget(params=0.7))


@pytest.mark.parametrize("method", ["spatial", "cp"])
def test_the_plan_as_done_says_what_the_refined_factors_lose(
    method: str, network: nn.Module, moments: eckart.Moments
):
    plan = plan_of(network, moments, method)
    done = applied(network, plan, moments)
    assert done.plan.refined_loss < 0.99 * plan.loss
    assert f"{done.plan.refined_loss:.4g} refined" in str(done.plan)
    merged = eckart.merge(done.model)
    for name, loss in done.plan.refined.items():
        problem = problem_of(network.get_submodule(name), name, moments)
        weight = as_matrix(merged.get_submodule(name)).double()
        found = quadratic_loss(weight - problem.weight, problem.a, problem.g)
        assert found == pytest.approx(loss, rel=1e-3)
        assert loss <= plan.choices[name].loss


def weights(model: nn.Module) -> list[Tensor]:
    return list(model.state_dict().values())


@pytest.mark.parametrize("method", ["spatial", "cp"])
def test_a_plan_read_from_json_gives_the_same_network(
    method: str, network: nn.Module, moments: eckart.Moments
):
    plan = plan_of(network, moments, method)
    read = eckart.Plan.loads(plan.dumps())
    one, other = (eckart.apply(network, each, moments) for each in (plan, read))
    assert all(map(torch.equal, weights(one), weights(other)))
    done = applied(network, plan, moments).plan
    assert eckart.Plan.loads(done.dumps()).refined == done.refined


def test_a_plan_that_is_applied_twice_is_refined_once(
    network: nn.Module, moments: eckart.Moments, monkeypatch: pytest.MonkeyPatch
):
    plan, calls = plan_of(network, moments, "cp"), list[int]()
    cache = Cache.beside(moments, plan.states)
    applied(network, plan, moments, cache)
    monkeypatch.setattr("eckart.methods.canonical.canonical_refined", calls.append)
    applied(network, plan, moments, cache)
    assert not calls
