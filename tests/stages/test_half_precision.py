"""Factors in half precision, whose numbers end at 65,504 and at 6e-8."""

import pytest
import torch
from torch import Tensor, nn

from eckart import Budget, allocate, apply, calibrate, curves

FACTORING = ("weighted_svd", "activation_svd", "svd", "pivoted_svd", "spatial", "tucker2", "cp")


class Tiny(nn.Module):
    """Outputs in a minute unit, and so are their gradients."""

    def __init__(self, unit: float) -> None:
        super().__init__()
        self.unit, self.inner = unit, nn.Conv2d(8, 12, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x).float().mean((2, 3)) * self.unit


@pytest.mark.parametrize("method", FACTORING)
def test_factors_can_be_represented_whatever_the_unit_of_the_outputs(method: str):
    model, x = Tiny(1e-15).half().eval(), torch.randn(16, 8, 6, 6).half()
    moments = calibrate(model, [x])
    options = curves(model, moments, methods=[method])
    smaller = apply(model, allocate(options, Budget(params=0.7)), moments)
    assert type(smaller.inner) is not nn.Conv2d
    for weight in smaller.inner.parameters():
        assert 1e-3 < float(weight.detach().abs().max()) < 1e3
    dense, found = model(x), smaller(x)
    assert (found - dense).norm() < 0.8 * dense.norm()
