"""The statistics that peers need from calibration data, gathered once per model and data.

Every function takes a model in eval mode and `calibration = (images, labels)`.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from benchmarks.peers.forms import Layer, compressible, input_rows, output_rows

Calibration = tuple[Float[Tensor, "n ..."], Int64[Tensor, " n"]]
Gathered = TypeVar("Gathered")
BATCH = 100


@dataclass(frozen=True)
class LayerInputs:
    """Means of x xᵀ and of |x| over one layer's input rows (patches of a convolution)."""

    moment: Float64[Tensor, "in in"]
    mean_abs: Float64[Tensor, " in"]
    positions: int  # rows per example


def once(
    gather: Callable[[nn.Module, Calibration], Gathered],
) -> Callable[[nn.Module, Calibration], Gathered]:
    """Remember the last result per model while its weights and the data stay the same."""
    memory: WeakKeyDictionary[nn.Module, tuple[Calibration, list[tuple[int, int]], Gathered]] = (
        WeakKeyDictionary()
    )

    @functools.wraps(gather)
    def remembered(model: nn.Module, calibration: Calibration) -> Gathered:
        tensors = chain(calibration, model.parameters(), model.buffers())
        state = [(id(tensor), tensor._version) for tensor in tensors]
        if model not in memory or memory[model][1] != state:
            memory[model] = (calibration, state, gather(model, calibration))
        return memory[model][2]

    return remembered


@once
def layer_inputs(model: nn.Module, calibration: Calibration) -> dict[str, LayerInputs]:
    """First and second moments of the inputs of all compressible layers."""
    sums: dict[str, tuple[Tensor, Tensor, int]] = {}

    def add(name: str, layer: Layer, x: Tensor, _: Tensor) -> None:
        rows = input_rows(layer, x).transpose(0, 1).flatten(1)
        moment, mean_abs, count = sums.get(name, (0, 0, 0))
        moment = moment + (rows @ rows.T).double()
        sums[name] = (moment, mean_abs + rows.abs().sum(1).double(), count + rows.shape[1])

    with torch.no_grad(), _watching(model, add):
        for images in calibration[0].split(BATCH):
            model(images)
    examples = len(calibration[0])
    return {name: LayerInputs(m / n, a / n, n // examples) for name, (m, a, n) in sums.items()}


@once
def gradient_squares(
    model: nn.Module, calibration: Calibration
) -> dict[str, Float64[Tensor, "out in"]]:
    """Mean over examples of (∂L/∂W)², elementwise: the empirical Fisher information."""
    sums: dict[str, Tensor] = {}

    def add(name: str, layer: Layer, x: Tensor, y: Tensor) -> None:
        rows = input_rows(layer, x.detach())

        def finish(gradient: Tensor) -> None:
            squares = (output_rows(layer, gradient) @ rows.mT).square().sum(0)
            sums[name] = sums.get(name, 0) + squares.double()

        y.register_hook(finish)

    with _watching(model, add):
        for images, labels in _batches(calibration):
            loss = F.cross_entropy(model(images), labels, reduction="sum")
            torch.autograd.grad(loss, list(model.parameters()))
    return {name: total / len(calibration[0]) for name, total in sums.items()}


@once
def parameter_gradients(model: nn.Module, calibration: Calibration) -> dict[str, Tensor]:
    """The gradient of the mean cross entropy over the calibration set, per parameter."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    totals = [torch.zeros_like(parameter) for parameter in parameters]
    for images, labels in _batches(calibration):
        loss = F.cross_entropy(model(images), labels, reduction="sum") / len(calibration[0])
        for total, gradient in zip(totals, torch.autograd.grad(loss, parameters), strict=True):
            total += gradient
    return dict(zip(names, totals, strict=True))


def _batches(calibration: Calibration) -> Iterator[tuple[Tensor, Tensor]]:
    images, labels = calibration
    return zip(images.split(BATCH), labels.split(BATCH), strict=True)


@contextmanager
def _watching(
    model: nn.Module, action: Callable[[str, Layer, Tensor, Tensor], None]
) -> Iterator[None]:
    """Call `action(name, layer, input, output)` at each forward pass of a compressible layer."""
    model.eval()
    hooks = [
        layer.register_forward_hook(
            lambda layer, args, output, name=name: action(name, layer, args[0], output)
        )
        for name, layer in compressible(model).items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
