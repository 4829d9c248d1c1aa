"""Plain layers over the numbers of other modules."""

from __future__ import annotations

from torch import Tensor, nn

_OWN_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def parameter(tensor: Tensor, trained: bool) -> nn.Parameter:
    """The parameter itself, or a new one over the same numbers."""
    if isinstance(tensor, nn.Parameter):
        return tensor
    return nn.Parameter(tensor.detach(), trained)


def linear_of(weight: Tensor, bias: Tensor | None, like: nn.Module) -> nn.Linear:
    """``nn.Linear`` over these numbers, without a copy, in the mode of ``like``."""
    trained = any(p.requires_grad for p in like.parameters(recurse=False))
    outputs, inputs = weight.shape
    layer = nn.Linear(inputs, outputs, bias is not None, "meta", weight.dtype)
    layer.weight = parameter(weight, trained)
    if bias is not None:
        layer.bias = parameter(bias, trained)
    return layer.train(like.training)


def is_whole(module: nn.Module, inputs: int, outputs: int) -> bool:
    """Whether it is an ``nn.Linear`` of this shape."""
    return type(module) is nn.Linear and tuple(module.weight.shape) == (outputs, inputs)


def is_hooked(module: nn.Module) -> bool:
    """Whether someone listens to the module or changes what it computes."""
    return any(getattr(module, hooks, None) for hooks in _OWN_HOOKS)
