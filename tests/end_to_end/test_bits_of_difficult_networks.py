"""Networks whose layers leave little room for codes, or need care."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from eckart import Budget, allocate, apply, calibrate, curves, load, save
from eckart.errors import BudgetError


def rounded(model: nn.Module, x: Tensor, share: float, bits: tuple[int, ...]) -> nn.Module:
    moments = calibrate(model, [x])
    offered = curves(model, moments, methods=("rounding",), bits=bits)
    return apply(model, allocate(offered, Budget(bytes=share)), moments)


def inputs(count: int, *, seed: int = 0) -> Tensor:
    return torch.randn(64, count, generator=torch.Generator().manual_seed(seed))


def test_a_budget_below_what_scales_take_says_what_is_reachable():
    """With one weight per row, two bytes of every row are its scale."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 64, bias=False), nn.Linear(64, 64, bias=False))
    least = (64 + 64 * 64) * 2 // 8 + 2 * 64 * 2
    with pytest.raises(BudgetError, match=f"the least reachable is {least} of {4 * 65 * 64}"):
        rounded(model, inputs(1), 0.01, (2, 4))


def test_spans_need_not_divide_the_inputs(tmp_path: Path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(100, 8))
    with torch.no_grad():
        model[0].weight[:, 64:] *= 8  # one scale per row would be too coarse for the others
    built = rounded(model, inputs(100), 0.3, (4,))
    (found,) = (module for module in built.modules() if hasattr(module, "scale"))
    assert found.scale.shape == (1, 8, 2)
    x = inputs(100)
    assert (built(x) - model(x)).norm() < 0.05 * model(x).norm()
    save(built, tmp_path)
    loaded = load(copy.deepcopy(model), tmp_path)
    assert torch.equal(loaded(x), built(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_networks_in_half_precision_stay_in_it(dtype: torch.dtype, tmp_path: Path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 8)).to(dtype)
    x = inputs(32).to(dtype)
    built = rounded(model, x, 0.7, (8,))
    assert built(x).dtype == dtype
    assert (built(x) - model(x)).float().norm() < 0.02 * model(x).float().norm()
    save(built, tmp_path)
    assert torch.equal(load(copy.deepcopy(model), tmp_path)(x), built(x))


def test_rows_of_zeros_stay_zero_and_constant_rows_constant():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3))
    with torch.no_grad():
        model[0].weight[0], model[0].weight[1] = 0.0, 0.5
        model[1].weight *= 1e-30
    built = rounded(model, inputs(6), 0.7, (8,))
    first, last = (module.weight for module in built.modules() if hasattr(module, "scale"))
    assert torch.equal(first.view(5, 6)[0], torch.zeros(6))
    torch.testing.assert_close(first.view(5, 6)[1], torch.full((6,), 0.5), rtol=0.02, atol=0)
    torch.testing.assert_close(last.view(3, 5) * 1e30, model[1].weight * 1e30, rtol=0, atol=0.02)
