"""Networks inside wrappers, of inference mode, and with buffers of every kind."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from eckart import Budget, allocate, apply, calibrate, compress, curves, measure
from eckart.network.wrappers import unwrapped
from eckart.running.hooks import untouched


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 4)).eval()


WRAPPERS = {
    "compiled": lambda model: torch.compile(model, backend="eager"),
    "parallel": nn.DataParallel,
    "both": lambda model: torch.compile(nn.DataParallel(model), backend="eager"),
}


@pytest.mark.parametrize("wrapped", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapped_network_is_the_one_inside(wrapped: Callable[[nn.Module], nn.Module]):
    plain, x = network(), torch.randn(32, 12)
    given = wrapped(plain)
    moments = calibrate(given, [x])
    assert moments.fingerprint == calibrate(plain, [x]).fingerprint
    assert moments.specs.keys() == {"0", "2"}
    plan = allocate(curves(given, moments), Budget(params=0.6))
    smaller = apply(given, plan, moments)
    again = compress(given, [x], keep=0.6)
    assert type(smaller) is type(again.model) is nn.Sequential
    assert torch.equal(smaller(x), again.model(x))
    assert unwrapped(given) is plain
    assert measure(given, x, latency=False) == measure(plain, x, latency=False)


class Buffered(nn.Module):
    """Adds a buffer to what it reads; counts in another."""

    def __init__(self, buffer: Tensor) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 3)
        self.register_buffer("given", buffer)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        shift = self.given.to_dense() if self.given.layout != torch.strided else self.given
        return self.inner(x + shift)


def of_inference_mode() -> Tensor:
    with torch.inference_mode():
        return torch.arange(6.0)


BUFFERS = {
    "expanded": lambda: torch.ones(1).expand(6),
    "expanded twice": lambda: torch.ones(1, 1).expand(2, 6)[0],
    "of inference mode": of_inference_mode,
    "sparse": lambda: torch.eye(6)[0].to_sparse(),
    "transposed": lambda: torch.randn(6, 1).T[0],
}


@pytest.mark.parametrize("buffer", BUFFERS.values(), ids=BUFFERS)
def test_buffers_of_every_kind_come_back(buffer: Callable[[], Tensor]):
    model, x = Buffered(buffer()), torch.randn(32, 6)
    given, before = model.given, model.given.clone()
    moments = calibrate(model, [x])
    assert measure(model, x, latency=False).params == moments.model_costs["params"]
    assert model.given is given
    assert torch.equal(model.given.to_dense(), before.to_dense())
    assert model.calls == 0
    plan = allocate(curves(model, moments), Budget(params=0.9))
    assert apply(model, plan, moments)(x).shape == (32, 3)


def test_an_expanded_buffer_that_was_written_comes_back():
    model = Buffered(torch.ones(1).expand(6))
    with untouched(model):
        model.given[:1] = 5.0
    assert model.given.tolist() == [1.0] * 6


def test_a_network_of_inference_mode_is_compressed():
    with torch.inference_mode():
        made = network()
    plain, x = network(), torch.randn(32, 12)
    smaller = compress(made, [x], keep=0.6)
    torch.testing.assert_close(smaller.model(x), compress(plain, [x], keep=0.6).model(x))
    assert all(p.is_inference() for p in made.parameters())
