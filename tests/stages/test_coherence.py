"""One scale per group sets the predicted losses of removals beside those of factors."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from eckart import Moments, calibrate, curves
from eckart.moments.sampled import affordable
from eckart.stages.curves import measured
from transformer_networks import llama, token_ids

SMOOTH = 12  # pixels a side, all of one value, so that errors are alike at every position


class Pooled(nn.Module):
    """Two convolutions, the mean over positions, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 6, 3, padding=1)
        self.last = nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.second(self.first(x).relu()).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def pooled() -> Pooled:
    torch.manual_seed(0)
    return Pooled().eval()


def flat_images(count: int) -> torch.Tensor:
    return torch.randn(count, 3, 1, 1).expand(count, 3, SMOOTH, SMOOTH).contiguous()


def noise_images(count: int) -> torch.Tensor:
    return torch.randn(count, 3, SMOOTH, SMOOTH)


def scales(model: nn.Module, moments: Moments) -> dict[str, list[float]]:
    """Losses with the sample over those without, at every size of every group."""
    with_sample, without = (
        curves(model, given, progress=False) for given in (moments, replace(moments, sample=()))
    )
    return {
        a.group.name: [a.losses[k] / b.losses[k] for k in a.sizes[:-1]]
        for a, b in zip(with_sample.groups, without.groups, strict=True)
    }


def test_a_group_has_one_scale(pooled: Pooled):
    moments = calibrate(pooled, [flat_images(64)], progress=False)
    found = scales(pooled, moments)
    assert set(found) == {"first", "second"}
    for values in found.values():
        assert values == pytest.approx([values[0]] * len(values), rel=1e-9)
        assert 1 / 50 <= values[0] <= 50


def test_errors_alike_all_over_an_image_cost_more(pooled: Pooled):
    """Behind the mean there is one position, under a convolution there are many."""
    moments = calibrate(pooled, [flat_images(256)], progress=False)
    found = scales(pooled, moments)
    assert found["first"][0] > 3 * found["second"][0]


def test_what_the_sample_shows_is_what_counts(pooled: Pooled):
    torch.manual_seed(1)
    alike = scales(pooled, calibrate(pooled, [flat_images(256)], progress=False))
    apart = scales(pooled, calibrate(pooled, [noise_images(256)], progress=False))
    ratios = [found["first"][0] / found["second"][0] for found in (alike, apart)]
    assert ratios[0] > ratios[1]


def test_without_a_sample_losses_stay_as_predicted(pooled: Pooled):
    moments = replace(calibrate(pooled, [flat_images(64)], progress=False), sample=())
    assert all(v == [1.0] * len(v) for v in scales(pooled, moments).values())


def test_trying_leaves_the_network_as_it_was(pooled: Pooled):
    before = {k: v.clone() for k, v in pooled.state_dict().items()}
    curves(pooled, calibrate(pooled, [flat_images(64)], progress=False), progress=False)
    assert all(torch.equal(v, before[k]) for k, v in pooled.state_dict().items())


def test_a_network_that_does_not_react_keeps_its_losses():
    model = Pooled().eval()
    nn.init.zeros_(model.last.weight)
    moments = calibrate(model, [flat_images(32)], progress=False)
    for curve in curves(model, moments, progress=False).groups:
        assert all(0 <= loss < 1e-9 for loss in curve.losses.values())


def test_fewer_examples_are_tried_the_larger_the_network(pooled: Pooled):
    moments = calibrate(pooled, [noise_images(64)], progress=False)
    large = replace(moments, model_costs={"macs": 10**9})
    assert affordable(moments, passes=10) >= 64
    assert affordable(large, passes=2) == 20
    assert affordable(large, passes=10) == 8


def test_equal_blocks_have_one_scale_where_measuring_all_is_too_much(
    monkeypatch: pytest.MonkeyPatch,
):
    model, batches = llama(), [{"input_ids": token_ids(4, 12, seed=seed)} for seed in range(4)]
    moments = calibrate(model, batches, progress=False)
    monkeypatch.setattr(measured, "_ALIKE", 1)
    monkeypatch.setattr(measured, "affordable_passes", lambda _: 1)
    tried, ratio = [], measured._removal_ratio
    monkeypatch.setattr(measured, "_removal_ratio", lambda *a: (tried.append(a[1]), ratio(*a))[1])
    methods = ["pivoted_svd", "backward_elimination"]
    found = curves(model, moments, methods=methods, progress=False).groups
    plain = curves(model, replace(moments, sample=()), methods=methods, progress=False).groups
    scales = {a.group.name: a.losses[1] / b.losses[1] for a, b in zip(found, plain, strict=True)}
    first, second = ({k: v for k, v in scales.items() if f".{n}." in k} for n in (0, 1))
    assert list(first.values()) == pytest.approx(list(second.values()), rel=1e-9)
    assert [curve.group.name for curve in tried] == [*first]
    assert all(1 / 50 < scale < 50 and scale != 1 for scale in scales.values())
