"""Mixtures of experts of transformers: every family, and what the tokens of an expert count."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.zoo.network import Network
from benchmarks.zoo.networks.transformers_text import MIXTURES
from eckart import (
    Budget,
    Moments,
    allocate,
    apply,
    calibrate,
    compress,
    curves,
    load_pretrained,
    save,
)
from eckart.errors import InputError
from eckart.layers import Factored
from eckart.network.identity import fingerprint
from eckart.network.twins import Experts, composites, opened
from expert_zoo import MIXTURES as ALONE
from expert_zoo import WIDTH
from random_moments import normal
from tolerances import tolerance
from transformer_networks import experts, token_ids

FUSED = [network for network in MIXTURES if "Switch" not in network.name]
SMALLER = ["weighted_svd"]


@pytest.fixture(params=FUSED, ids=lambda network: network.name.partition("/")[2])
def family(request: pytest.FixtureRequest) -> Network:
    pytest.importorskip("transformers")
    found: Network = request.param
    return found


def test_every_family_is_opened_and_computes_the_same(family: Network):
    model, (batch, *_) = family.made(), family.data()
    network = opened(model)
    assert {c.twin.name for c in composites(model)} >= {"experts"}
    assert not [n for n, p in network.named_parameters() if p.dim() > 2]
    for training in (False, True):
        with torch.no_grad():
            ours, theirs = (m.train(training)(**batch).logits for m in (network, model))
        torch.testing.assert_close(ours, theirs, **tolerance(torch.float32))


@pytest.mark.parametrize("name", ["GptOss", "DeepseekV3"])
def test_the_whole_way_to_a_loaded_network(name: str, tmp_path):
    """The other families are stacked as DeepSeek is."""
    pytest.importorskip("transformers")
    family = next(network for network in FUSED if name in network.name)
    model, batches = family.made(), family.data()
    before = fingerprint(model)
    smaller = compress(model, batches, keep=0.8, of="sites", methods=SMALLER, latency=False)
    mixed = [m for m in smaller.model.modules() if isinstance(m, Experts)]
    assert any(type(m) is Factored for mixture in mixed for m in mixture.modules())
    assert fingerprint(model) == before
    save(smaller.model, tmp_path)
    again = load_pretrained(tmp_path)
    with torch.no_grad():
        ours, theirs = (m(**batches[0]).logits for m in (again, smaller.model))
    assert torch.equal(ours, theirs)


class Routed(nn.Module):
    """Rows whose last number says which of the experts reads them, and with what weight 1."""

    def __init__(self, experts: nn.Module) -> None:
        super().__init__()
        self.experts = experts

    def forward(self, x: Tensor) -> Tensor:
        index = x[:, -1:].long()
        return self.experts(x[:, :-1], index, torch.ones_like(x[:, -1:]))


def alike() -> nn.Module:
    """Experts with the same weights."""
    module = ALONE["experts"]()
    for parameter in module.parameters():
        parameter.data = normal(*parameter.shape[1:], seed=2).float().expand_as(parameter).clone()
    return module


def summed(outputs: Any, batch: Any, generator: torch.Generator) -> Tensor:
    """A probe without chance."""
    return outputs.sum()


def test_an_expert_costs_what_its_share_of_the_tokens_costs():
    """Nine times as many tokens, the same ones: nine times the loss."""
    module = alike()
    rows = normal(30, WIDTH, seed=5).float()
    x = torch.cat([torch.cat([rows, torch.full((30, 1), float(at > 0))], 1) for at in range(10)])
    moments = calibrate(Routed(module), [x], metric=summed)
    found = curves(Routed(module), moments, methods=SMALLER, damping=1e-6)
    losses = {c.site.name: {str(o.form): o.loss for o in c.options} for c in found.curves}
    for layer in ("gate_proj", "up_proj", "down_proj"):
        rare, usual = losses[f"experts.0.{layer}"], losses[f"experts.1.{layer}"]
        assert max(rare.values()) > 0
        assert usual == pytest.approx({form: 9 * loss for form, loss in rare.items()}, 1e-4)


@pytest.fixture(scope="module")
def mixture() -> tuple[nn.Module, Moments]:
    model = experts()
    return model, calibrate(model, [{"input_ids": token_ids(6, 12, seed=2)}])


def test_an_expert_that_no_token_reaches_stays_and_is_listed():
    module = alike()
    moments = calibrate(
        Routed(module), [torch.cat([normal(20, WIDTH, seed=6).float(), torch.ones(20, 1)], 1)]
    )
    plan = allocate(curves(Routed(module), moments, methods=SMALLER), Budget(params=0.95))
    idle = [f"experts.{at}.{layer}" for at in (0, 2, 3, 4) for layer in ("up_proj", "down_proj")]
    assert {plan.dense[name] for name in idle} == {"never called in calibration"}
    assert set(plan.choices) <= {f"experts.1.{n}" for n in ("gate_proj", "up_proj", "down_proj")}


def test_a_token_uses_what_is_shared_and_its_experts(mixture: tuple[nn.Module, Moments]):
    model, moments = mixture
    every = sum(p.numel() for p in model.parameters())
    stacked = sum(p.numel() for n, p in model.named_parameters() if ".experts." in n)
    assert moments.model_costs["active_params"] == every - stacked + stacked * 2 // 4
    inside = [spec.share for name, spec in moments.specs.items() if ".experts." in name]
    outside = [spec.share for name, spec in moments.specs.items() if ".experts." not in name]
    assert set(inside) == {0.5}
    assert set(outside) == {1.0}


def test_a_budget_of_what_a_token_uses(mixture: tuple[nn.Module, Moments], tmp_path):
    model, moments = mixture
    found = curves(model, moments, methods=SMALLER)
    plan = allocate(found, Budget(costs={"active_params": 0.8}))
    smaller = apply(model, plan, moments)
    numbers = {
        n: p.numel() * (0.5 if ".experts." in n else 1)
        for n, p in opened(smaller).named_parameters()
    }
    assert sum(numbers.values()) == pytest.approx(plan.costs["active_params"])
    assert plan.costs["active_params"] <= 0.8 * plan.totals["active_params"]
    moments.save(tmp_path / "moments.safetensors")
    again = Moments.load(tmp_path / "moments.safetensors")
    assert allocate(curves(model, again, methods=SMALLER), plan.budget) == plan


def test_a_network_without_experts_has_no_such_cost():
    network = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 4))
    moments = calibrate(network, [normal(20, 6, seed=6).float()])
    found = curves(network, moments, methods=SMALLER)
    assert "active_params" not in found.totals
    with pytest.raises(InputError, match="limit another cost than active_params"):
        allocate(found, Budget(costs={"active_params": 0.8}))
