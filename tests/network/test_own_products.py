"""Linear layers that somebody wrote by hand: which are opened, and as what."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from eckart import calibrate, compress
from eckart.network.twins import notes, opened
from eckart.network.twins.own_product import Matrix, OwnProduct, how_of

X = torch.randn(32, 6, generator=torch.Generator().manual_seed(0))
Forward = Callable[["Written", Tensor], Tensor]


class Written(nn.Module):
    """A matrix, a vector, and a forward pass."""

    def __init__(self, forward: Forward, shape: tuple[int, int] = (9, 6)) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.w = nn.Parameter(0.4 * torch.randn(shape, generator=generator))
        self.b, self.does, self.width = nn.Parameter(torch.ones(9)), forward, shape[0]

    def forward(self, x: Tensor) -> Tensor:
        return self.does(self, x)


def equalised(m: Written, x: Tensor) -> Tensor:
    """As StyleGAN's layers, with a rate of learning in the scale."""
    return functional.linear(x, m.w * (0.01 / 6**0.5), m.b * 0.01)


@pytest.mark.parametrize(
    ("forward", "shape", "expected"),
    [
        (lambda m, x: functional.linear(x, m.w, m.b), (9, 6), Matrix("w", "b", False, 1, 1)),
        (lambda m, x: torch.addmm(m.b, x.flatten(0, -2), m.w).view(2, 3, -1), (6, 9), None),
        (lambda m, x: x @ m.w + m.b, (6, 9), Matrix("w", "b", True, 1, 1)),
        (lambda m, x: m.b - x @ m.w.T, (9, 6), Matrix("w", "b", False, -1, 1)),
        (equalised, (9, 6), Matrix("w", "b", False, 0.01 / 6**0.5, 0.01)),
        (lambda m, x: functional.linear(x, m.w, m.b).relu(), (9, 6), None),
        (lambda m, x: functional.linear(x, m.w, m.b) + 1, (9, 6), None),
        (lambda m, x: functional.linear(x, m.w.softmax(1), m.b), (9, 6), None),
        (lambda m, x: functional.linear(x, m.w * (1 + m.training), m.b), (9, 6), None),
    ],
    ids=[
        "linear",
        "shaped",
        "product",
        "negated",
        "equalised",
        "bent",
        "shifted",
        "softmax",
        "training",
    ],
)
def test_what_multiplies_and_nothing_else_is_opened(
    forward: Forward, shape: tuple[int, int], expected: Matrix | None
):
    network = nn.Sequential(Written(forward, shape))
    found = opened(network)[0]
    if expected is None:
        assert opened(network) is network
        return
    assert isinstance(found, OwnProduct)
    how = how_of(found)
    assert (how.weight, how.bias, how.transposed) == ("w", "b", expected.transposed)
    assert (how.scale, how.shift) == pytest.approx((expected.scale, expected.shift), rel=1e-6)
    torch.testing.assert_close(found(X), network(X))
    torch.testing.assert_close(copy.deepcopy(found).w, network[0].w)
    assert found.width == network[0].width


def test_a_network_of_such_layers_is_compressed():
    layers = [Written(lambda m, x: x @ m.w + m.b, (6, 9)), nn.Tanh(), nn.Linear(9, 9)]
    network = nn.Sequential(*layers, Written(equalised, (9, 9)))
    moments = calibrate(network, [X])
    assert set(moments.specs) == {"0.inner", "2", "3.inner"}
    assert "takes the place of its own product" in notes(network)["0"]
    done = compress(network, moments, keep=0.6, latency=False)
    assert sum(p.numel() for p in done.model.parameters()) <= 0.6 * (54 + 3 * 9 + 2 * 81)


def test_numbers_of_zero_do_not_matter():
    module = Written(lambda m, x: x @ m.w + m.b, (6, 9))
    nn.init.zeros_(module.w)
    assert isinstance(opened(nn.Sequential(module))[0], OwnProduct)
