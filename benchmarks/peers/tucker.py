"""Tucker-2 of the channel axes of convolutions, by TensorLy."""

from collections.abc import Mapping

import tensorly
import torch
from tensorly.decomposition import partial_tucker
from torch import Tensor, nn

from benchmarks.measuring.counts import count_params
from benchmarks.peers.calibration import Calibration
from benchmarks.peers.forms import (
    Layer,
    compressible,
    dense_size,
    factored,
    geometry,
    matrix,
    replaced,
)
from benchmarks.peers.low_rank import plain
from benchmarks.peers.ranks import check_reachable, largest_within

ITERATIONS = 20
Widths = tuple[int, ...]  # (outputs, inputs) of a k×k core, or (rank,) of a plain matrix


def tucker2_uniform(model: nn.Module, calibration: Calibration, keep: float) -> nn.Module:
    """1×1 to r inputs, k×k to r' outputs, 1×1 back; the same fraction of channels everywhere.

    A linear layer or a 1×1 convolution gets the SVD with that fraction of its full rank. The first
    and the last layer stay dense, because the same fraction of three colours would leave one. So do
    layers that would not shrink. 20 sweeps from the SVD.

    Source: Kim et al. 2016 (1511.06530), section 3.1.
    """
    layers, total = dict(list(compressible(model).items())[1:-1]), count_params(model)

    def params(fraction: float) -> int:
        saved = (dense_size(v) - _size(v, _widths(v, fraction)) for v in layers.values())
        return total - sum(max(0, saving) for saving in saved)

    check_reachable(keep, params(0.0) / total)
    fraction = largest_within(lambda f: params(f) <= keep * total)
    return replaced(model, _factored(layers, fraction))


def _factored(layers: Mapping[str, Layer], fraction: float) -> dict[str, nn.Module]:
    widths = {name: _widths(layer, fraction) for name, layer in layers.items()}
    smaller = [k for k, layer in layers.items() if _size(layer, widths[k]) < dense_size(layer)]
    return {name: _decomposed(layers[name], widths[name]) for name in smaller}


def _widths(layer: Layer, fraction: float) -> Widths:
    outputs, inputs = layer.weight.shape[:2]
    if _is_spatial(layer):
        return max(1, int(fraction * outputs)), max(1, int(fraction * inputs))
    return (max(1, int(fraction * min(outputs, inputs))),)


def _is_spatial(layer: Layer) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.weight[0, 0].numel() > 1


def _size(layer: Layer, widths: Widths) -> int:
    outputs, inputs = layer.weight.shape[:2]
    if not _is_spatial(layer):
        return widths[0] * (outputs + inputs)
    core = widths[0] * widths[1] * layer.weight[0, 0].numel()
    return widths[1] * inputs + core + widths[0] * outputs


def _decomposed(layer: Layer, widths: Widths) -> nn.Module:
    if not isinstance(layer, nn.Conv2d) or not _is_spatial(layer):
        spectrum = plain(matrix(layer))
        return factored(layer, spectrum.left[:, : widths[0]], spectrum.right[: widths[0]])
    with tensorly.backend_context("pytorch", local_threadsafe=True):
        (core, (left, right)), _ = partial_tucker(
            layer.weight.detach().double(), widths, [0, 1], n_iter_max=ITERATIONS, init="svd"
        )
    return _three(layer, core, left, right)


def _three(layer: nn.Conv2d, core: Tensor, left: Tensor, right: Tensor) -> nn.Sequential:
    """The three convolutions of core (r', r, k, k), left (out, r') and right (in, r)."""
    first = nn.Conv2d(layer.in_channels, core.shape[1], 1, bias=False)
    middle = nn.Conv2d(core.shape[1], core.shape[0], **geometry(layer), bias=False)
    last = nn.Conv2d(core.shape[0], layer.out_channels, 1, bias=layer.bias is not None)
    with torch.no_grad():
        first.weight.copy_(right.T[:, :, None, None])
        middle.weight.copy_(core)
        last.weight.copy_(left[:, :, None, None])
        if layer.bias is not None and last.bias is not None:
            last.bias.copy_(layer.bias)
    return nn.Sequential(first, middle, last).to(layer.weight)
