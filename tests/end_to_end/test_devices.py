"""Networks stay on their device, and so does what is made of them; on CUDA where there is one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import eckart
from eckart.stages.heal import heal

DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    ),
]


def network(device: str) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(48, 5)).to(device).eval()


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def batches() -> list[Tensor]:
    """On the CPU: they are moved to the network."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(16, 3, 6, 6, generator=generator) for _ in range(2)]


def types(tensors: Any) -> set[str]:
    return {tensor.device.type for tensor in tensors}


@pytest.mark.parametrize(
    ("limit", "more"),
    [
        ({"params": 0.6}, {}),
        ({"bytes": 0.2}, {"bits": (4, 8)}),
        ({"params": 0.6}, {"methods": ["tucker2", "spatial", "backward_elimination"]}),
    ],
)
def test_the_chain_stays_on_the_device(
    device: str, batches: list[Tensor], limit: Any, more: Any, tmp_path: Path
):
    model = network(device)
    moments = eckart.calibrate(model, batches, progress=False)
    for part in (moments.grams, moments.totals, moments.output_grams):
        assert types(part.values()) == {device}
    options = eckart.curves(model, moments, limits=[*limit], progress=False, **more)
    plan = eckart.allocate(options, eckart.Budget(**limit))
    smaller = eckart.apply(model, plan, moments)
    tensors = [*smaller.parameters(), *smaller.buffers()]
    assert types(tensors) == {device}
    assert types(model.parameters()) == {device}
    found = smaller(batches[0].to(device))
    assert found.isfinite().all()
    eckart.save(smaller, tmp_path / "small")
    again = eckart.load(network(device), tmp_path / "small")
    assert types(again.parameters()) <= {device}
    torch.testing.assert_close(again(batches[0].to(device)), found)


def test_the_plan_is_that_of_the_cpu(device: str, batches: list[Tensor]):
    plans = []
    for place in ("cpu", device):
        model = network(place)
        moments = eckart.calibrate(model, batches, progress=False)
        options = eckart.curves(model, moments, limits=["params"], progress=False)
        plans.append(eckart.allocate(options, eckart.Budget(params=0.5)))
    ours, theirs = plans
    assert ours.loss == pytest.approx(theirs.loss, rel=1e-3)


def test_scores_and_healing_stay_there_too(device: str, batches: list[Tensor]):
    model = network(device)
    moments = eckart.calibrate(model, batches, progress=False)
    data = [(x, torch.zeros(len(x), dtype=torch.int64)) for x in batches]
    small = eckart.compress(model, moments, keep=0.6, evaluate=eckart.accuracy(data))
    assert types(small.model.parameters()) == {device}
    healed = heal(small.model, model, batches, treatments=["correct", "refit"], progress=False)
    assert types(healed.model.parameters()) == {device}
