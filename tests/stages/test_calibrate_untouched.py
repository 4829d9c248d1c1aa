"""The network comes back exactly as it was, whatever happens on the way."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eckart import calibrate


class Noisy(nn.Module):
    """Draws random numbers, counts its calls in a buffer, and fails when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.fails = False

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.fails:
            raise ZeroDivisionError("the model is broken")
        return x + torch.rand(())


def make() -> nn.Sequential:
    """Modes, gradients and frozen parameters in every mixture."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), Noisy(), nn.Flatten(),
        nn.Linear(36, 5), nn.Linear(5, 3),
    )  # fmt: skip
    model(torch.randn(4, 3, 5, 5)).sum().backward()
    model[5].weight.grad = None
    model[0].weight.requires_grad_(False)
    model.train()
    model[2].eval()
    model[6].eval()
    return model


def state_of(model: nn.Module) -> dict[str, Any]:
    return {
        "modes": [module.training for module in model.modules()],
        "hooks": [
            (list(m._forward_hooks), list(m._forward_pre_hooks), list(m._backward_hooks))
            for m in model.modules()
        ],
        "parameters": [(id(p), p.requires_grad, id(p.grad)) for p in model.parameters()],
        "buffers": [id(b) for b in model.buffers()],
        "types": [type(module) for module in model.modules()],
    }


def values_of(model: nn.Module) -> list[Tensor]:
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return [t.detach().clone() for t in (*model.state_dict().values(), *gradients)]


def complete(model: nn.Sequential) -> Iterator[Tensor]:
    yield torch.randn(6, 3, 5, 5)
    yield torch.randn(6, 3, 5, 5)


def failing_loader(model: nn.Sequential) -> Iterator[Tensor]:
    yield torch.randn(6, 3, 5, 5)
    raise OSError("the disk is gone")


def failing_model(model: nn.Sequential) -> Iterator[Tensor]:
    yield torch.randn(6, 3, 5, 5)
    model[3].fails = True
    yield torch.randn(6, 3, 5, 5)


def interrupted(model: nn.Sequential) -> Iterator[Tensor]:
    yield torch.randn(6, 3, 5, 5)
    raise KeyboardInterrupt


def not_a_number(model: nn.Sequential) -> Iterator[Tensor]:
    yield torch.full((6, 3, 5, 5), torch.nan)


@pytest.mark.parametrize(
    "source", [complete, failing_loader, failing_model, interrupted, not_a_number]
)
@pytest.mark.parametrize("metric", ["logits", None])
def test_the_network_comes_back(source: Callable[..., Iterator[Tensor]], metric: str | None):
    model = make()
    before, values = state_of(model), values_of(model)
    random_state = torch.get_rng_state()
    error: Exception | None = None
    try:
        calibrate(model, source(model), metric=metric)
    except Exception as caught:
        error = caught
    assert (error is None) is (source is complete)
    assert state_of(model) == before
    for after, value in zip(values_of(model), values, strict=True):
        assert torch.equal(after, value)
    assert torch.equal(torch.get_rng_state(), random_state)


def test_an_error_of_the_model_is_passed_on_unchanged():
    model = make()
    with pytest.raises(ZeroDivisionError, match="the model is broken"):
        calibrate(model, failing_model(model))


def test_the_network_runs_in_eval_mode():
    seen: list[bool] = []

    class Spy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(self.training)
            return x

    model = nn.Sequential(nn.Linear(3, 4), Spy(), nn.Linear(4, 2)).train()
    calibrate(model, [torch.randn(5, 3)])
    assert seen
    assert not any(seen)


def test_hooks_of_others_stay_and_are_called():
    model, calls = make(), []
    model[4].register_forward_hook(lambda *_: calls.append(1))
    calibrate(model, complete(model))
    assert calls
    assert len(model[4]._forward_hooks) == 1


def test_it_works_under_no_grad():
    """Calibration needs gradients at the outputs and turns them on itself."""
    with torch.no_grad():
        moments = calibrate(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), [torch.randn(5, 3)])
        assert not torch.is_grad_enabled()
    assert set(moments.output_grams) == {"0", "1"}
