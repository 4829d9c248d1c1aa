"""Layers that a network calls through a place where nobody would look for them."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from eckart import calibrate, compress, load, save
from eckart.errors import LeftDenseWarning
from eckart.layers import Factored


class Elsewhere(nn.Module):
    """Calls one layer through a list, and another by a bound method."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.third = (nn.Linear(16, 16) for _ in range(3))
        self.listed, self.bound = [self.first], self.second.__call__

    def forward(self, x: Tensor) -> Tensor:
        return self.third(self.bound(self.listed[0](x).tanh()).tanh())


def test_a_layer_that_is_called_from_elsewhere_stays_and_is_named(tmp_path: Path):
    model, x = Elsewhere(), torch.randn(64, 16, generator=torch.Generator().manual_seed(1))
    moments = calibrate(model, [x])
    with pytest.warns(LeftDenseWarning, match="the network also holds it elsewhere"):
        done = compress(model, moments, keep=0.9, methods=["weighted_svd"], latency=False)
    assert set(done.plan.changed) == {"third"}
    assert type(done.model.third) is Factored
    save(done.model, tmp_path)
    assert torch.equal(load(Elsewhere(), tmp_path)(x), done.model(x))
