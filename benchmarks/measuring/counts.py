"""What a network costs: parameters and multiply-adds."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def count_params(model: nn.Module) -> int:
    """The number of scalars in all parameters; shared ones count once, buffers do not count."""
    return sum(parameter.numel() for parameter in model.parameters())


def weights_kept(model: nn.Module, dense: nn.Module, names: Iterable[str]) -> float:
    """The remaining fraction of the weights in some submodules; biases do not count."""
    inside = list(names)

    def weights(network: nn.Module) -> int:
        parameters = (p for name in inside for p in network.get_submodule(name).parameters())
        return sum(p.numel() for p in parameters if p.dim() > 1)

    return weights(model) / weights(dense)


def count_macs(model: nn.Module, example: Float[Tensor, "batch ..."]) -> int:
    """Multiply-adds of convolutions and matrix products per example; sets `model` to eval mode."""
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(example)
    flops: int = counter.get_total_flops()
    return flops // (2 * len(example))
