"""What `curves` decomposed, `apply` takes as it is."""

from typing import Any

import pytest
import torch
from torch import nn

import eckart
from eckart.methods import low_rank
from eckart.methods.cache import Held
from eckart.methods.canonical import canonical_factors
from stages.networks import SmallCnn, mlp


def calibrated(model: nn.Module, *size: int) -> eckart.Moments:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return eckart.calibrate(model, [torch.randn(16, *size)], progress=False)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was decomposed: a word for each time."""
    made: list[str] = []

    def counting(name: str, function: Any) -> Any:
        def call(*args: Any) -> Any:
            made.append(name)
            return function(*args)

        return call

    projection = counting("svd", low_rank.output_projection)
    monkeypatch.setattr(low_rank, "output_projection", projection)
    monkeypatch.setattr(
        "eckart.methods.canonical.canonical_factors", counting("cp", canonical_factors)
    )
    return made


def test_apply_decomposes_nothing_and_another_budget_neither(counted: list[str]):
    model = mlp(12, 16, 16, 4)
    moments = calibrated(model, 12)
    curves = eckart.curves(model, moments, methods=["weighted_svd"], progress=False)
    once = list(counted)
    plans = [eckart.allocate(curves, eckart.Budget(params=keep)) for keep in (0.8, 0.5)]
    smaller = [eckart.apply(model, plan, moments) for plan in plans]
    assert once
    assert counted == once
    moments.held.clear()
    for plan, network in zip(plans, smaller, strict=True):
        anew = eckart.apply(model, plan, moments).state_dict()
        assert all(torch.equal(tensor, anew[name]) for name, tensor in network.state_dict().items())
    assert counted != once


def test_searches_of_components_are_remembered_too(counted: list[str]):
    model = SmallCnn().eval()
    moments = calibrated(model, 3, 8, 8)
    curves = eckart.curves(model, moments, methods=["cp"], progress=False)
    once = counted.count("cp")
    plan = eckart.allocate(curves, eckart.Budget(params=0.6))
    eckart.apply(model, plan, moments)
    assert any(choice.method == "cp" for choice in plan.choices.values())
    assert counted.count("cp") == once


def test_no_more_is_held_than_the_moments_take():
    model = mlp(12, 16, 16, 4)
    moments = calibrated(model, 12)
    eckart.curves(model, moments, methods=["weighted_svd", "svd", "activation_svd"], progress=False)
    held = [tensor for made in moments.held.values() for tensor in vars(made).values()]
    assert 0 < sum(tensor.nbytes for tensor in held) <= moments.nbytes


def test_what_does_not_fit_is_made_every_time():
    found: dict[Any, Any] = {}
    held = Held(found, 0, "layer", torch.device("cpu"))
    made = [held.recall(low_rank.NestedFactors, "svd", lambda: factors()) for _ in range(2)]
    assert made[0] is not made[1]
    assert not found


def factors() -> low_rank.NestedFactors:
    return low_rank.truncated_svd(torch.eye(3, dtype=torch.float64)[None])


def test_the_moments_are_equal_and_saved_without_them(tmp_path):
    model = mlp(12, 16, 16, 4)
    moments = calibrated(model, 12)
    eckart.curves(model, moments, progress=False)
    moments.save(tmp_path / "moments.safetensors")
    again = eckart.Moments.load(tmp_path / "moments.safetensors")
    assert moments.held
    assert not again.held
    assert not (moments + again).held
    assert again.digest == moments.digest
