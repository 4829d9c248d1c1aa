"""A network that reads the weight of a layer reads it from the factors too."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import eckart
from eckart.layers import Factored, bias_of, rebuild, weight_of
from eckart.layers.product import Product
from eckart.methods import low_rank_form
from layer_zoo import EVEN_WARNING, LAYERS, inputs, layer, piece_of_layer
from random_moments import normal
from tolerances import tolerance

pytestmark = pytest.mark.filterwarnings(f"ignore:{EVEN_WARNING}")
READ = ("in_features", "out_features", "in_channels", "out_channels", "kernel_size", "stride")
MORE = ("padding", "dilation", "groups", "padding_mode", "output_padding", "nf", "nx")


def factored(module: nn.Module, **shape: bool) -> Factored:
    form = low_rank_form(piece_of_layer(module), 2, **shape)
    weights = [normal(*p.weight_shape, seed=i) for i, p in enumerate(form.pieces)]
    return rebuild(module, form, weights)


@pytest.mark.parametrize("name", LAYERS)
def test_it_reads_like_the_layer_that_computes_the_same(name: str):
    module = layer(name, torch.float32)
    chain = factored(module)
    dense = chain.merge()
    assert (chain.weight.shape, chain.weight.dtype) == (dense.weight.shape, torch.float32)
    torch.testing.assert_close(chain.weight + 0, dense.weight.detach(), **tolerance(torch.float32))
    assert (chain.bias is None) == (bias_of(module) is None)
    for attribute in (*READ, *MORE):
        assert getattr(chain, attribute, None) == getattr(dense, attribute, None), attribute


def test_gradients_pass_through_the_product():
    module = layer("3x3", torch.float64)
    chain, x = factored(module), inputs(module)
    one = torch.autograd.grad(chain(x).square().sum(), [weight_of(part) for part in chain])
    y = F.conv2d(x, chain.weight, chain.bias, chain.stride, chain.padding)
    other = torch.autograd.grad(y.square().sum(), [weight_of(part) for part in chain])
    for ours, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(ours, theirs, **tolerance(torch.float64))


def test_nothing_is_multiplied_to_know_the_dtype(monkeypatch: pytest.MonkeyPatch):
    def refuse(chain: Factored) -> Tensor:
        raise AssertionError("multiplied")

    chain = factored(nn.Linear(6, 5)).bfloat16()
    monkeypatch.setattr(Factored, "_product", refuse)
    weight = chain.weight
    assert isinstance(weight, Product)
    assert (weight.dtype, weight.device.type, weight.dim()) == (torch.bfloat16, "cpu", 2)
    assert weight.size(0) == 5
    with pytest.raises(AssertionError, match="multiplied"):
        weight.sum()


def test_it_is_no_parameter_and_does_not_stand_in_the_way():
    chain = factored(nn.Linear(6, 5), pivoted=True)
    names = {"0.weight", "1.rest.weight", "1.order", "1.bias"}
    assert set(chain.state_dict()) == names
    again = copy.deepcopy(chain)
    assert torch.equal(again.weight + 0, chain.weight + 0)
    with pytest.raises(AttributeError, match="has no attribute 'stride'"):
        _ = chain.stride


class ReadsWeight(nn.Module):
    """As in T5: the parent asks for the dtype. As in Mamba: in train mode it uses the weight."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(8, 24), nn.Linear(24, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x).relu().to(self.outer.weight.dtype)
        if self.training:
            return F.linear(y, self.outer.weight, self.outer.bias)
        out: Tensor = self.outer(y)
        return out


def test_parents_that_read_the_weight_keep_working(tmp_path: Any):
    torch.manual_seed(0)
    model, x = ReadsWeight().eval(), torch.randn(32, 8)
    smaller = eckart.compress(model, [x], keep=0.7, methods=["weighted_svd"], progress=False).model
    assert isinstance(smaller.outer, Factored)
    expected = smaller(x)
    torch.testing.assert_close(smaller.train()(x), expected, **tolerance(torch.float32))
    smaller(x).sum().backward()
    assert smaller.outer[0].weight.grad is not None
    eckart.save(smaller, tmp_path)
    assert torch.equal(eckart.load(ReadsWeight(), tmp_path).eval()(x), smaller.eval()(x))
