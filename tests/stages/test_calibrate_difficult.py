"""Networks that are difficult but valid: handled, or left dense with the reason."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eckart import calibrate
from eckart.errors import InputError
from stages.networks import SmallCnn, mlp
from tolerances import tolerance

READ = "never called in calibration: another module reads its weight instead"
X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


class Middle(nn.Module):
    """Two matrices around one that is run as ``wrap`` says."""

    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.first, self.middle, self.last = (nn.Linear(4, 4) for _ in range(3))
        self.wrap = wrap

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(x + self.wrap(self.middle, x))


def without_gradients(layer: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return layer(x)


@pytest.mark.parametrize(
    ("wrap", "reason"),
    [
        (without_gradients, "no gradient reached its outputs"),
        (lambda layer, x: layer(x).detach(), "no gradient reached its outputs"),
        (lambda layer, x: 0 * x, "never called in calibration"),
        (
            lambda layer, x: x.to(layer.weight.dtype) * layer.in_features,
            "never called in calibration",
        ),
        (lambda layer, x: x @ layer.weight.T, READ),
        (lambda layer, x: torch.einsum("oi,ni->no", layer.weight, x), f"{READ}, with einsum"),
    ],
    ids=["no_grad", "detached", "never called", "its dtype is read", "weight.T", "einsum"],
)
def test_a_layer_that_is_not_reached_is_listed(wrap: Any, reason: str):
    moments = calibrate(Middle(wrap), [X])
    assert set(moments.specs) == {"first", "last"}
    whole = moments.skipped["middle"]
    assert whole == reason or (whole.startswith(reason) and "no gradient" in reason)
    assert not set(moments.grams) - {"first", "last"}


def test_a_layer_without_gradients_counts_when_only_inputs_do():
    moments = calibrate(Middle(without_gradients), [X], metric=None)
    assert set(moments.specs) == {"first", "middle", "last"}


def test_a_network_under_no_grad_is_refused():
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 3)

        @torch.no_grad()
        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x)

    with pytest.raises(InputError, match="no gradient flows from the outputs"):
        calibrate(Frozen(), [X])


@pytest.mark.parametrize("frozen", ["0", "2", "02"])
def test_frozen_parameters_change_nothing(frozen: str):
    model = mlp(4, 5, 3)
    expected = calibrate(model, [X])
    for name in frozen:
        model[int(name)].requires_grad_(False)
    moments = calibrate(model, [X])
    for name in ("0", "2"):
        assert torch.equal(moments.a(name), expected.a(name))
        assert torch.equal(moments.g(name), expected.g(name))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_every_precision(dtype: torch.dtype):
    model, batches = SmallCnn(), [torch.randn(4, 3, 9, 8)]
    expected = calibrate(model, batches)
    moments = calibrate(model.to(dtype), [x.to(dtype) for x in batches])
    assert {p.dtype for p in model.parameters()} == {dtype}
    for name in expected.specs:
        assert moments.a(name).dtype == torch.float64
        assert relative(moments.a(name), expected.a(name)) < 0.05
        assert relative(moments.g(name), expected.g(name)) < 0.05


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def test_a_single_row():
    moments = calibrate(mlp(4, 5, 3), [X[:1]])
    assert moments.rows["0"] == 1
    torch.testing.assert_close(
        moments.a("0")[0], torch.outer(X[0], X[0]).double(), **tolerance(torch.float32)
    )


def test_one_output_is_not_centred():
    model = nn.Sequential(nn.Linear(4, 1))
    moments = calibrate(model, [X.repeat(200, 1)])
    assert moments.g("0").item() == pytest.approx(1, abs=0.15)  # mean of squared Gaussians


@pytest.mark.parametrize("value", [0.0, 1.0], ids=["zeros", "constant"])
def test_constant_inputs_give_a_singular_moment(value: float):
    moments = calibrate(mlp(4, 5, 3), [torch.full((6, 4), value)])
    assert torch.equal(moments.a("0")[0], torch.full((4, 4), value, dtype=torch.float64))


def test_an_unbatched_convolution():
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([self.conv(image).mean((1, 2)) for image in x])

    model, batches = One(), [torch.randn(4, 3, 6, 6)]
    moments = calibrate(model, batches)
    x = nn.functional.unfold(batches[0], 3).mT.flatten(0, 1).double()
    torch.testing.assert_close(moments.a("conv")[0], x.T @ x / 64, **tolerance(torch.float32))


class Special(nn.Module):
    """A layer of a class of its own, whose weight has three axes."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.mean(0)


def tied() -> nn.Module:
    model = mlp(4, 4, 4, 3)
    model[2].weight = model[0].weight
    return model


def twice() -> nn.Module:
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.ReLU(), layer, nn.ReLU(), nn.Linear(4, 3))


def subclass() -> nn.Module:
    return nn.Sequential(Special(4, 4), nn.ReLU(), Special(4, 4), nn.ReLU(), nn.Linear(4, 3))


def hooked() -> nn.Module:
    model = mlp(4, 4, 4, 3)
    for index in (0, 2):
        model[index].register_forward_pre_hook(lambda module, args: None)
    return model


@pytest.mark.parametrize(
    ("make", "left", "reason"),
    [
        (tied, {"0", "2"}, "its weight is shared with another layer"),
        (twice, {"0"}, "registered under several names"),
        (subclass, {"0", "2"}, ".Special (known"),
        (hooked, {"0", "2"}, "has forward hooks of its own"),
    ],
    ids=["shared weight", "registered twice", "subclass", "hooks"],
)
def test_what_cannot_be_replaced_is_listed(make: Any, left: set[str], reason: str):
    model = make()
    moments = calibrate(model, [X])
    assert set(moments.skipped) == left
    assert set(moments.specs) == {"4"}
    assert all(reason in text for text in moments.skipped.values())


@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
@pytest.mark.parametrize("called", [True, False])
def test_a_lazy_layer_that_never_ran_is_listed(called: bool):
    def wrap(layer: nn.Module, x: Tensor) -> Tensor:
        return layer(x) if called else x

    model = Middle(wrap)
    model.middle = nn.LazyLinear(4)
    moments = calibrate(model, [X])
    assert set(moments.specs) == {"first", "last"}
    assert "lazily initialised and never run" in moments.skipped["middle"]
    assert all(p.grad is None for p in model.parameters())
    if called:
        assert set(calibrate(model, [X]).specs) == {"first", "middle", "last"}
