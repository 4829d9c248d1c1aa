"""Batch norms folded into the layers that they read."""

import copy

import pytest
import torch
from torch import Tensor, nn

from eckart.exporting.folding import fold_norms


def settled(norm: nn.Module) -> nn.Module:
    """A norm with statistics and weights of its own."""
    with torch.no_grad():
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        if norm.affine:
            norm.weight.uniform_(-2, 2)
            norm.bias.normal_()
    return norm


PAIRS = {
    "linear": (nn.Linear(6, 5), nn.BatchNorm1d(5), (4, 6)),
    "convolution": (nn.Conv2d(6, 8, 3, groups=2), nn.BatchNorm2d(8), (4, 6, 5, 5)),
    "without affine": (nn.Conv1d(6, 5, 2, bias=False), nn.BatchNorm1d(5, affine=False), (4, 6, 7)),
    "depthwise": (nn.Conv2d(6, 6, 3, groups=6, bias=False), nn.BatchNorm2d(6), (4, 6, 5, 5)),
    "transposed": (
        nn.ConvTranspose2d(6, 8, 3, stride=2, groups=2),
        nn.BatchNorm2d(8),
        (4, 6, 5, 5),
    ),
    "volumes": (nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3), (4, 2, 3, 3, 3)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_norm_is_folded_into_the_layer_before_it(name: str):
    torch.manual_seed(0)
    layer, norm, shape = PAIRS[name]
    model = nn.Sequential(layer, settled(copy.deepcopy(norm)), nn.ReLU()).eval()
    x = torch.randn(shape)
    expected = model(x)
    factors = fold_norms(model, x)
    assert type(model[1]) is nn.Identity
    assert list(factors) == ["0"]
    torch.testing.assert_close(model(x), expected, rtol=1e-5, atol=1e-5)


class Elsewhere(nn.Module):
    """The layer's output is read by a norm, and changed or read by something else as well."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.layer, self.norm = nn.Linear(6, 6), settled(nn.BatchNorm1d(6))
        self.second, self.last = nn.Linear(6, 6), settled(nn.BatchNorm1d(6))

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        if self.how == "added":
            y = self.norm(y) + y
        elif self.how == "changed in place":
            y = self.norm(torch.relu_(y))
        elif self.how == "called again":
            y = self.layer(self.norm(y))
        else:
            y = self.norm(self.norm(y))
        return self.last(self.second(y))


@pytest.mark.parametrize("how", ["added", "changed in place", "called again", "norm called again"])
def test_a_norm_stays_where_it_is_not_the_only_reader(how: str):
    torch.manual_seed(0)
    model, x = Elsewhere(how).eval(), torch.randn(4, 6)
    expected = model(x)
    assert list(fold_norms(model, x)) == ["second"]
    assert (type(model.norm), type(model.last)) == (nn.BatchNorm1d, nn.Identity)
    torch.testing.assert_close(model(x), expected, rtol=1e-5, atol=1e-5)


def test_norms_of_batch_statistics_and_of_half_precision_stay():
    loose = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5, track_running_stats=False)).eval()
    half = nn.Sequential(nn.Linear(6, 5), settled(nn.BatchNorm1d(5))).eval().bfloat16()
    for model, x in ((loose, torch.randn(4, 6)), (half, torch.randn(4, 6).bfloat16())):
        assert fold_norms(model, x) == {}
        assert type(model[1]) is nn.BatchNorm1d
