"""What a network costs: parameters and multiply-adds."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def count_params(model: nn.Module) -> int:
    """Number of scalars in all parameters, shared ones once; buffers do not count."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module, example: Float[Tensor, "batch ..."]) -> int:
    """Multiply-adds of convolutions and matrix products per example; sets `model` to eval mode."""
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(example)
    return counter.get_total_flops() // (2 * len(example))
