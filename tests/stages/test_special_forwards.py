"""Forward passes that differentiate, that take no gradients, or that are compiled; odd weights."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eckart import calibrate, compress, measure
from eckart.errors import InputError, NoGradientError
from stages.networks import mlp

X = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
pytestmark = pytest.mark.filterwarnings("ignore::eckart.errors.NoGainWarning")


class Physics(nn.Module):
    """A function and its derivative, as networks for differential equations give them."""

    def __init__(self, careful: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Sequential(nn.Linear(2, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh())
        self.head, self.careful = nn.Linear(24, 1), careful

    def forward(self, x: Tensor) -> Tensor:
        with torch.set_grad_enabled(self.careful or torch.is_grad_enabled()):
            x = x.detach().clone().requires_grad_()
            value = self.head(self.inner(x))
            (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
        return torch.cat([value, slope], 1)


def test_a_network_that_differentiates_is_compressed():
    model = Physics()
    moments = calibrate(model, [X])
    done = compress(model, moments, keep=0.8, latency=False)
    with torch.no_grad():
        change = 0.5 * (done.model(X) - model(X)).square().sum() / len(X)
    assert 0.1 < float(change) / done.plan.loss < 20
    assert moments.model_costs["macs"] > 2 * 24 + 24 * 24 + 24
    assert measure(model, X).latency_ms > 0


def test_gradients_that_a_network_takes_itself_are_not_those_of_the_probe():
    class Twice(Physics):
        def forward(self, x: Tensor) -> Tensor:
            return 0 * super().forward(x)[:, :1] + self.head(self.inner(x))

    twice, once = Twice(), nn.Sequential(*Physics().inner, Physics().head)
    found, expected = calibrate(twice, [X]), calibrate(once, [X])
    torch.testing.assert_close(found.g("inner.2"), expected.g("2"), rtol=1e-4, atol=1e-7)


def test_a_network_that_differentiates_only_with_gradients_is_told_how():
    with pytest.raises(InputError, match=r"put that part of forward into `with torch.enable_grad"):
        calibrate(Physics(careful=False), [X])


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_a_forward_without_gradients_is_called_that(without: type):
    model = mlp(2, 24, 3)
    model.forward = without()(model.forward)
    with pytest.raises(NoGradientError, match="under no_grad or inference_mode"):
        calibrate(model, [X])
    assert calibrate(model, [X], metric=None).examples == 64


def test_hooks_are_not_compiled():
    frames = torch._dynamo.utils.counters["frames"]
    inner = torch.compile(mlp(2, 24, 24), backend="eager")
    model = nn.Sequential(inner, nn.ReLU(), nn.Linear(24, 3))
    frames.clear()
    moments = calibrate(model, [X])
    assert frames["total"] <= 2, "only passes without hooks may compile"
    assert {"0._orig_mod.0", "0._orig_mod.2", "2"} == moments.specs.keys()


def quantised() -> nn.Module:
    model = mlp(2, 24, 3)
    return torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)


def integers() -> nn.Module:
    model = mlp(2, 24, 3)
    model[2].weight = nn.Parameter(torch.ones(3, 24, dtype=torch.int8), requires_grad=False)
    return model


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("make", [quantised, integers])
def test_quantised_weights_are_refused_before_any_data_are_read(make):
    def unread():
        raise AssertionError("data were read")
        yield

    with pytest.raises(InputError, match=r"quantised weights .* quantise the result"):
        calibrate(make(), unread())


class Doubled(torch.autograd.Function):
    """A function whose gradient nobody wrote."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        raise NotImplementedError("no gradient of this")


class Cut(torch.autograd.Function):
    """A function that gives no gradient, as torchvision's do where there is no box."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx, grad: Tensor) -> None:
        return None


class Around(nn.Module):
    """Two layers with something between them."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.between = nn.Linear(2, 16), nn.Linear(16, 3), between

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.between(self.first(x)))


def test_a_function_without_a_gradient_is_named_as_the_cause():
    model = Around(Doubled.apply)
    with pytest.raises(InputError, match=r"mend its backward.*metric=None.*no gradient of this"):
        calibrate(model, [X])
    assert calibrate(model, [X], metric=None).metric is None


def test_a_gradient_that_is_none_counts_as_none():
    moments = calibrate(Around(Cut.apply), [X])
    assert set(moments.specs) == {"last"}
    assert moments.skipped["first"].startswith("no gradient reached its outputs")


def test_layers_inside_vmap_are_named_with_what_to_do():
    inner = nn.Linear(16, 16)
    model = Around(torch.vmap(inner))
    model.inner = inner
    with pytest.raises(InputError, match=r"layer 'inner' is called inside torch.vmap.*layers="):
        calibrate(model, [X])
    assert set(calibrate(model, [X], layers=["first", "last"]).specs) == {"first", "last"}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_rows_of_nested_tensors_count_like_others():
    class Nested(Around):
        def forward(self, x: Tensor) -> Tensor:
            nested = self.first(torch.nested.nested_tensor([x[:1], x[1:]]))
            return self.last(torch.cat(list(nested.unbind())))

    found, expected = calibrate(Nested(abs), [X]), calibrate(Around(lambda x: x), [X])
    assert found.rows == expected.rows
    torch.testing.assert_close(found.g("first"), expected.g("first"), rtol=1e-4, atol=1e-7)


def test_layers_of_complex_numbers_are_left_out_and_named():
    class Spectral(Around):
        def __init__(self) -> None:
            super().__init__(lambda x: torch.fft.irfft(self.inner(torch.fft.rfft(x)), n=16))
            self.inner = nn.Linear(9, 9, dtype=torch.complex64)

    model = Spectral()
    moments = calibrate(model, [X])
    assert "torch.complex64; only real" in moments.skipped["inner"]
    assert compress(model, moments, keep=0.9, latency=False).model(X).shape == (64, 3)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_a_scripted_part_stays_as_it_is():
    model = Around(torch.nn.Identity())
    model.inner = model.between = torch.jit.script(mlp(16, 16, 16))
    model.first.requires_grad_(False)
    moments = calibrate(model, [X])
    assert "torch.jit made it" in moments.skipped["between.0"]
    smaller = compress(model, moments, keep=0.97, latency=False).model
    trained = {name: p.requires_grad for name, p in smaller.named_parameters()}
    assert not any(v for n, v in trained.items() if n.startswith("first"))
    assert all(v for n, v in trained.items() if n.startswith("between"))
    kept = smaller.between.state_dict()
    assert all(torch.equal(kept[k], v) for k, v in model.between.state_dict().items())


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_a_network_that_is_scripted_is_told_what_to_do():
    with pytest.raises(InputError, match=r"compress the network first, then script or trace"):
        calibrate(torch.jit.script(mlp(2, 8, 3)), [X])


@pytest.mark.parametrize("hold", [lambda y: y, lambda y: [y], lambda y: {"map": (y,)}])
def test_what_an_earlier_pass_left_behind_is_no_obstacle(hold: Callable[[Tensor], Any]):
    class Keeping(Around):
        def forward(self, x: Tensor) -> Tensor:
            hidden = self.first(x).relu()
            self.seen = hold(hidden)
            return self.last(hidden)

    model = Keeping(abs)
    model(X)
    done = compress(model, calibrate(model, [X]), keep=0.9, latency=False)
    assert done.model(X).shape == (64, 3)
