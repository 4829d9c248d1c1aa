"""What calibration never reaches: auxiliary heads, which need not count in a budget."""

import pytest
import torch
from torch import Tensor, nn

from eckart import Budget, Moments, allocate, apply, calibrate, compress, curves, measure
from eckart.errors import BudgetError

BATCHES = list(torch.randn(3, 8, 12, generator=torch.Generator().manual_seed(0)).unbind())
for batch, sign in zip(BATCHES, (-1, 1, -1), strict=True):
    batch[0, 0] = sign


class Auxiliary(nn.Module):
    """Half of the parameters are in a head for training; one layer serves some batches only."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU())
        self.head, self.sometimes = nn.Linear(16, 10), nn.Linear(16, 16)
        self.auxiliary = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.Linear(32, 10))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        given, x = x, self.body(x)
        if bool(given[0, 0] > 0):
            x = x + self.sometimes(x)
        return (self.head(x), self.auxiliary(x)) if self.training else self.head(x)


IDLE = 16 * 32 + 32 + 2 * 32 + 32 * 10 + 10  # with the norm, which is no layer
STATISTICS_BYTES = 2 * 32 * 4 + 8  # of the norm: means, variances and the number of batches


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return Auxiliary().eval()


@pytest.fixture(scope="module")
def moments(network: nn.Module) -> Moments:
    return calibrate(network, BATCHES)


def test_parameters_that_nothing_uses_are_known(network, moments, tmp_path):
    idle = {name for name, _ in network.named_parameters() if name.startswith("auxiliary")}
    assert set(moments.unreached) == idle
    moments.save(tmp_path / "moments.safetensors")
    assert Moments.load(tmp_path / "moments.safetensors").unreached == moments.unreached
    parts = calibrate(network, BATCHES, workspace=tmp_path / "parts", memory_bytes=2**14)
    assert set(parts.unreached) == idle


def test_what_one_of_two_runs_reached_is_reached(network):
    first, second = calibrate(network, BATCHES[:1]), calibrate(network, BATCHES[1:2])
    assert "sometimes.weight" in first.unreached
    for summed in (first + second, second + first):
        assert set(summed.unreached) == set(second.unreached)


def test_a_layer_that_the_first_example_misses_takes_part(network, moments):
    """Its multiply-adds for one example are none, in the layer as in the network."""
    assert moments.specs["sometimes"].sizes == ()
    smaller = compress(network, moments, keep=0.6, of="reached", methods=["weighted_svd"])
    assert "sometimes" in smaller.plan.choices
    dense, found = (measure(net, BATCHES[0][:1], latency=False) for net in (network, smaller.model))
    assert smaller.plan.totals["macs"] == dense.macs
    assert smaller.plan.costs["macs"] == found.macs


@pytest.mark.parametrize("amount", [0.6, 400])
def test_a_budget_of_what_was_reached(network, moments, amount):
    options = curves(network, moments)
    plan = allocate(options, Budget(params=amount, of="reached"))
    whole = sum(p.numel() for p in network.parameters())
    assert plan.unreached["params"] == IDLE
    assert plan.unreached["bytes"] == 4 * IDLE + STATISTICS_BYTES
    limit = int(0.6 * (whole - IDLE)) if amount == 0.6 else amount
    assert 0.9 * limit <= plan.costs["params"] - IDLE <= limit
    smaller = apply(network, plan, moments)
    assert sum(p.numel() for p in smaller.parameters()) == plan.costs["params"]


def test_the_plan_and_the_error_say_it(network, moments):
    share = f"{IDLE / sum(p.numel() for p in network.parameters()):.1%}"
    plan = compress(network, moments, keep=0.9).plan
    assert f"did not reach {share} of the parameters" in str(plan)
    assert "of='reached' does not count them" in str(plan)
    of_reached = compress(network, moments, keep=0.9, of="reached").plan
    assert f"did not reach {share}" in str(of_reached)
    assert "of='reached'" not in str(of_reached)
    options = curves(network, moments)
    with pytest.raises(BudgetError, match=f"did not reach' keeps {IDLE} .* of='reached', which"):
        allocate(options, Budget(params=0.3))
    with pytest.raises(BudgetError) as of_the_rest:
        allocate(options, Budget(params=0.01, of="reached"))
    assert "did not reach" not in str(of_the_rest.value)


def test_a_network_that_uses_all_it_has_says_nothing():
    network = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 4))
    plan = compress(network, BATCHES, keep=0.6, latency=False).plan
    assert plan.unreached == {}
    assert "reach" not in str(plan)
