"""Networks that multiply with the weight of a layer without calling it, as many attentions do."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eckart import calibrate, compress, curves, heal, load, measure, save
from eckart.layers import Factored
from tolerances import tolerance

X = torch.randn(16, 5, 12, generator=torch.Generator().manual_seed(0))


class Packed(nn.Module):
    """Queries and values from one weight; their bias is put together first."""

    def __init__(self, own_bias: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.both = nn.Linear(12, 48, bias=own_bias)
        self.q_bias, self.v_bias = (nn.Parameter(torch.randn(24)) for _ in range(2))
        self.out = nn.Linear(24, 4)

    def product(self, x: Tensor) -> Tensor:
        bias = torch.cat([self.q_bias, self.v_bias])
        return F.linear(input=x, weight=self.both.weight, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        query, value = self.product(x).chunk(2, -1)
        return self.out(query.sigmoid() * value)


class Columns(Packed):
    """The same, but the weight comes first, as in Mamba."""

    def product(self, x: Tensor) -> Tensor:
        return (self.both.weight @ x.transpose(1, 2)).mT + torch.cat([self.q_bias, self.v_bias])


class Called(Packed):
    """The same, but the layer is called."""

    def product(self, x: Tensor) -> Tensor:
        more = 0 if self.both.bias is None else self.both.bias
        return self.both(x) - more + torch.cat([self.q_bias, self.v_bias])


@pytest.mark.parametrize("reads", [Packed, Columns])
@pytest.mark.parametrize("own_bias", [False, True])
def test_moments_are_those_of_a_network_that_calls_the_layer(reads: type[Packed], own_bias: bool):
    reader, caller = reads(own_bias).eval(), Called(own_bias).eval()
    ours, theirs = calibrate(reader, [X]), calibrate(caller, [X])
    assert "both" in ours.specs
    assert ours.specs == theirs.specs
    for name in ours.specs:
        torch.testing.assert_close(ours.a(name), theirs.a(name), **tolerance(torch.float32))
        torch.testing.assert_close(ours.g(name), theirs.g(name), **tolerance(torch.float32))


@pytest.mark.parametrize("reads", [Packed, Columns])
@pytest.mark.parametrize("own_bias", [False, True])
def test_the_whole_way(reads: type[Packed], own_bias: bool, tmp_path):
    network = reads(own_bias).eval()
    found = compress(network, [X], keep=0.6, methods=["pivoted_svd"], latency=False)
    smaller = found.model
    assert type(smaller.both) is Factored
    dense = reads(own_bias).eval()
    dense.load_state_dict(network.state_dict())
    dense.both.weight.data, dense.out.weight.data = (
        torch.as_tensor(layer.weight).detach() + 0 for layer in (smaller.both, smaller.out)
    )
    torch.testing.assert_close(smaller(X), dense(X), rtol=1e-4, atol=1e-5)
    save(smaller, tmp_path)
    assert torch.equal(load(reads(own_bias), tmp_path)(X), smaller(X))


@pytest.mark.parametrize("reads", [Packed, Columns])
def test_the_factors_are_applied_one_after_the_other(reads: type[Packed]):
    network = reads().eval()
    moments = calibrate(network, [X])
    found = compress(network, moments, keep=0.6, methods=["weighted_svd"], latency=False)
    costs = measure(found.model, X[:1], latency=False)
    assert costs.macs == found.plan.costs["macs"] < found.plan.totals["macs"]


def test_losses_are_measured_with_the_bias_of_the_reader():
    losses = []
    for network in (Packed(True).eval(), Columns(True).eval(), Called(True).eval()):
        moments = calibrate(network, [X])
        found = curves(network, moments, methods=["weighted_svd"], rescale=True)
        losses.append([o.loss for c in found.curves for o in c.options])
    for others in losses[1:]:
        torch.testing.assert_close(
            torch.tensor(losses[0]), torch.tensor(others), rtol=1e-3, atol=1e-6
        )


def test_it_is_healed_as_if_the_layer_were_called():
    batches, found = [torch.randn(16, 5, 12) for _ in range(6)], []
    for network in (Packed().eval(), Called().eval()):
        moments = calibrate(network, [X])
        smaller = compress(network, moments, keep=0.5, methods=["weighted_svd"], latency=False)
        healed = heal(smaller.model, network, batches, treatments=["refit"])
        found.append((str(healed), healed.model(X)))
    assert found[0][0] == found[1][0]
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-4)
