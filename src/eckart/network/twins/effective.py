"""The weight that a layer computes with, where it computes it from others; seen in one pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from eckart.layers import bias_of
from eckart.records import Piece
from eckart.running.hooks import untouched

_PRODUCTS: tuple[Callable[..., Any], ...] = (
    F.linear,
    F.conv1d,
    F.conv2d,
    F.conv3d,
    F.conv_transpose1d,
    F.conv_transpose2d,
    F.conv_transpose3d,
)
_LARGE = 50.0  # times a usual input: where a layer that bends shows it
_CLOSE = 64  # roundings, relative to the largest output


@dataclass(frozen=True)
class Effective:
    """What a layer multiplies with.

    Attributes:
        weight: the parameter itself where nothing is computed.
        bias: the same, or None.
    """

    weight: Tensor
    bias: Tensor | None


class _Products(TorchFunctionMode):
    """Remembers what plain layers' functions were called with."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Effective] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func in _PRODUCTS:
            weight = args[1] if len(args) > 1 else given["weight"]
            self.seen.append(Effective(weight, args[2] if len(args) > 2 else given.get("bias")))
        return func(*args, **given)


def effective(module: nn.Module, piece: Piece) -> Effective | None:
    """The one weight and bias that a layer multiplies an input with; None if it cannot be told.

    Args:
        module: computes a layer of ``piece``'s shapes.
        piece: its shapes.

    Cost: one pass of a small input.
    """
    products = _Products()
    try:
        with untouched(module), torch.no_grad(), products:
            module(probes(module, piece)[0])
            if not products.seen and isinstance(module.weight, Tensor):  # it has another way
                products.seen.append(Effective(module.weight, bias_of(module)))
    except Exception:  # the module's own forward may raise anything
        return None
    if len(products.seen) != 1 or products.seen[0].weight.numel() != piece.weights:
        return None
    return products.seen[0]


def probes(module: nn.Module, piece: Piece) -> list[Tensor]:
    """Random inputs of two sizes that a layer takes, the second one large; of a table, all rows."""
    like = next(module.parameters())
    if piece.table:
        return [torch.arange(piece.inputs, device=like.device)]
    generator = torch.Generator().manual_seed(0)

    def probe(more: int) -> Tensor:
        spans = (d * (k - 1) for k, d in zip(piece.kernel, piece.dilation, strict=True))
        rows = [span + more + at for at, span in enumerate(spans)]
        shape = (2, piece.inputs, *rows) if piece.kernel else (2, more, piece.inputs)
        return torch.randn(shape, generator=generator).to(like)

    return [probe(4), _LARGE * probe(7)]


@torch.no_grad()
def computes(module: nn.Module, plain: nn.Module, piece: Piece, modes: tuple[bool, ...]) -> bool:
    """Whether two modules give the same on random inputs, in each of these modes of training."""
    with untouched(module):
        try:
            for training in modes:
                module.train(training)
                if not all(_same(module(x), plain(x)) for x in probes(module, piece)):
                    return False
        except Exception:  # the module's own forward may raise anything
            return False
    return True


def _same(ours: Any, theirs: Tensor) -> bool:
    if not isinstance(ours, Tensor) or (ours.shape, ours.dtype) != (theirs.shape, theirs.dtype):
        return False
    error = (ours - theirs).abs().max()
    return bool(error <= _CLOSE * torch.finfo(theirs.dtype).eps * theirs.abs().max())
