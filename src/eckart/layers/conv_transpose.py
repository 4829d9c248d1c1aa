"""``nn.ConvTranspose1d``, ``2d``, ``3d``: every input pixel is a row, and writes a patch."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import cast, final

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from eckart.layers.conv import batched, plain_convolution, transposed_class
from eckart.layers.registry import InputSums
from eckart.linalg import Window, patch_gram, row_gram
from eckart.records import Piece
from eckart.records.pieces import Size


@final
@dataclass(frozen=True)
class ConvTransposeType:
    """Any stride, padding, output padding, dilation and groups.

    The layer is the adjoint of a convolution. Its matrix takes the channels of one input pixel to a
    patch of the output, where overlapping patches are added. So ``A`` is the moment of pixels, and
    ``G`` that of patches of the gradients. Low rank is a pointwise convolution, then a transposed
    one that is as large as the layer's.

    Attributes:
        axes: number of spatial axes.
    """

    axes: int

    @property
    def name(self) -> str:
        """``conv_transpose1d``, ``conv_transpose2d`` or ``conv_transpose3d``."""
        return f"conv_transpose{self.axes}d"

    @property
    def module(self) -> type[nn.Module]:
        """The class."""
        return transposed_class(self.axes)

    def refusal(self, module: nn.Module) -> str | None:
        """Refuse output padding that is not smaller than the stride."""
        layer = cast(_ConvNd, module)
        pairs = zip(layer.output_padding, layer.stride, strict=True)
        if any(extra >= stride for extra, stride in pairs):
            return "output_padding is not smaller than stride; pad the output to include it"
        return None

    def piece(self, module: nn.Module) -> Piece:
        """Channels, kernel, stride, padding, dilation, output padding, groups, bias."""
        layer = cast(_ConvNd, module)
        extra = tuple(layer.output_padding)
        return Piece(
            layer.in_channels,
            layer.out_channels,
            kernel=tuple(layer.kernel_size),
            stride=tuple(layer.stride),
            padding=tuple(cast(Size, layer.padding)),
            dilation=tuple(layer.dilation),
            groups=layer.groups,
            bias=layer.bias is not None,
            extra=extra if any(extra) else (),
            transposed=True,
        )

    def plain(self, piece: Piece, like: Tensor) -> nn.Module:
        """A convolution, transposed where the piece is."""
        return plain_convolution(piece, like)

    def size(self, module: nn.Module, x: Tensor) -> Size:
        """The spatial axes, such as height and width."""
        return tuple(x.shape[-self.axes :])

    def geometry(self, module: nn.Module) -> Hashable:
        """All transposed convolutions with equal groups see the same rows of one tensor."""
        return ("conv_transpose", self.piece(module).groups)

    def input_sums(self, module: nn.Module, x: Tensor) -> InputSums:
        """Cost: O(n · pixels · in² / groups)."""
        groups = self.piece(module).groups
        rows = batched(x, self.axes).float().flatten(2).unflatten(1, (groups, -1))
        return InputSums(row_gram(rows), rows.sum((0, 3)), len(rows) * rows.shape[3])

    def output_gram(self, module: nn.Module, grad: Tensor) -> Float[Tensor, "groups out out"]:
        """Cost: that of ``patch_gram`` for a convolution over the output."""
        piece = self.piece(module)
        window = Window(piece.kernel, piece.stride, piece.padding, piece.dilation, piece.groups)
        return patch_gram(batched(grad, self.axes).float(), window)
