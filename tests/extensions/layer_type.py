"""A layer type from outside."""

from collections.abc import Hashable

import torch
from torch import Tensor, nn

from eckart.layers import InputSums
from eckart.records import Piece


class Mix(nn.Module):
    """The same matrix at every position of a signal, shape (n, channels, length)."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 1) / inputs**0.5)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.weight[..., 0] @ x
        return y if self.bias is None else y + self.bias[:, None]


class MixType:
    """Its shapes are those of a convolution with a kernel of one."""

    name = "mix"
    module: type[nn.Module] = Mix

    def refusal(self, module: nn.Module) -> str | None:
        return None

    def piece(self, module: nn.Module) -> Piece:
        outputs, inputs, _ = module.weight.shape
        idle = {"stride": (1,), "padding": (0,), "dilation": (1,)}
        return Piece(inputs, outputs, kernel=(1,), **idle, bias=module.bias is not None)

    def plain(self, piece: Piece, like: Tensor) -> nn.Module:
        return Mix(piece.inputs, piece.outputs, piece.bias).to(like)

    def size(self, module: nn.Module, x: Tensor) -> tuple[int, ...]:
        return tuple(x.shape[-1:])

    def geometry(self, module: nn.Module) -> Hashable:
        return self.name

    def input_sums(self, module: nn.Module, x: Tensor) -> InputSums:
        rows = x.float().transpose(1, 2).flatten(0, 1)
        return InputSums((rows.T @ rows)[None], rows.sum(0)[None], len(rows))

    def output_gram(self, module: nn.Module, grad: Tensor) -> Tensor:
        rows = grad.float().transpose(1, 2).flatten(0, 1)
        return (rows.T @ rows)[None]
