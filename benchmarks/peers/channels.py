"""Channel pruning by weight norm with a least-squares refit, as in AIMET."""

import copy
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor, nn

from benchmarks.measuring.counts import count_params
from benchmarks.peers.calibration import Calibration, layer_inputs
from benchmarks.peers.forms import Layer, layer_at, matrix
from benchmarks.peers.ranks import check_reachable, largest_within
from benchmarks.subjects.networks import Chain, channel_chains

DAMPING = 1e-6


@dataclass(frozen=True)
class Kept:
    """What is kept of one chain: channels, and the columns of the consumer that read them."""

    chain: Chain
    channels: Int64[Tensor, " kept"]
    columns: Int64[Tensor, " columns"]


def l2_channels(model: nn.Module, calibration: Calibration, keep: float) -> nn.Module:
    """Keep the input channels with the largest weight norm; refit; the same fraction everywhere.

    Each consumer is refitted to its dense outputs by least squares on the dense inputs. Only
    channels inside a chain are removed; in a ResNet these are the inner ones of each block.

    Source: He et al. 2017 (1707.06168), section 3.1, with norms in place of the lasso.
    """
    total = count_params(model)

    def params(fraction: float) -> int:
        return count_params(shrunk(model, largest(model, fraction)))

    check_reachable(keep, params(0.0) / total)
    kept = largest(model, largest_within(lambda fraction: params(fraction) <= keep * total))
    inputs = layer_inputs(model, calibration)
    fitted = copy.deepcopy(model)
    for each in kept:
        consumer, moment = layer_at(fitted, each.chain.consumer), inputs[each.chain.consumer]
        refit = least_squares(matrix(consumer), moment.moment, each.columns)
        consumer.weight.data.copy_(refit.reshape(consumer.weight.shape))
    return shrunk(fitted, kept)


def largest(model: nn.Module, fraction: float) -> list[Kept]:
    """This fraction of every chain's channels (rounded, at least one) by weight norm."""
    kept = []
    for chain in channel_chains(model):
        width = len(layer_at(model, chain.producer).weight)
        weight = matrix(layer_at(model, chain.consumer))
        of_channel = torch.arange(weight.shape[1]).reshape(width, -1)  # columns of each channel
        order = weight[:, of_channel].square().sum((0, 2)).argsort(descending=True)
        channels = order[: max(1, round(fraction * width))].sort().values
        kept.append(Kept(chain, channels, of_channel[channels].flatten()))
    return kept


def least_squares(
    weight: Float64[Tensor, "out in"],
    moment: Float64[Tensor, "in in"],
    columns: Int64[Tensor, " columns"],
) -> Float64[Tensor, "out in"]:
    """argmin_M tr((W − M) A (W − M)ᵀ) over M that is zero outside `columns`, A slightly damped."""
    eye = torch.eye(len(moment), dtype=moment.dtype)
    damped = moment + DAMPING * moment.diagonal().mean() * eye
    refit = torch.zeros_like(weight)
    normal, target = damped[columns][:, columns], damped[columns] @ weight.T
    refit[:, columns] = torch.linalg.solve(normal, target).T
    return refit


def shrunk(model: nn.Module, kept: list[Kept]) -> nn.Module:
    """A copy of the model, in eval mode, without the channels that are not kept."""
    small = copy.deepcopy(model).eval()
    for each in kept:
        _narrow_outputs(layer_at(small, each.chain.producer), each.channels)
        if each.chain.norm:
            _narrow_norm(small.get_submodule(each.chain.norm), each.channels)
        _narrow_inputs(layer_at(small, each.chain.consumer), each)
    return small


def _narrow_outputs(layer: Layer, channels: Tensor) -> None:
    layer.weight = nn.Parameter(layer.weight.data[channels])
    if layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias.data[channels])
    _set_width(layer, "out", len(channels))


def _narrow_inputs(layer: Layer, kept: Kept) -> None:
    weight = layer.weight.data.flatten(1)[:, kept.columns]
    layer.weight = nn.Parameter(weight.reshape(len(weight), -1, *layer.weight.shape[2:]))
    _set_width(layer, "in", layer.weight.shape[1])


def _set_width(layer: Layer, side: str, width: int) -> None:
    setattr(layer, f"{side}_{'channels' if isinstance(layer, nn.Conv2d) else 'features'}", width)


def _narrow_norm(norm: nn.Module, channels: Tensor) -> None:
    if not isinstance(norm, nn.BatchNorm2d):
        raise TypeError(f"got {type(norm).__name__}, expected BatchNorm2d")
    for name in ("weight", "bias"):
        setattr(norm, name, nn.Parameter(getattr(norm, name).data[channels]))
    for name in ("running_mean", "running_var"):
        setattr(norm, name, getattr(norm, name)[channels])
    norm.num_features = len(channels)
