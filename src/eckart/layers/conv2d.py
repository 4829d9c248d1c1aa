"""``nn.Conv2d``: every patch under the kernel is a row."""

from __future__ import annotations

from collections.abc import Hashable
from typing import cast, final

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from eckart.layers.registry import InputSums
from eckart.linalg import Window, patch_gram, patch_total, row_gram
from eckart.records import Piece
from eckart.records.forms import Size


@final
class Conv2dType:
    """Any stride, padding, padding mode, dilation and groups; depthwise: one channel per group."""

    name = "conv2d"
    module: type[nn.Module] = nn.Conv2d

    def refusal(self, module: nn.Module) -> str | None:
        """Refuse an even kernel with padding='same': a chain of layers cannot pad as unevenly."""
        piece = self.piece(module)
        spans = (d * (k - 1) for k, d in zip(piece.kernel, piece.dilation, strict=True))
        if module.padding == "same" and any(span % 2 for span in spans):
            return "padding='same' with an even kernel is asymmetric; pad explicitly to include it"
        return None

    def piece(self, module: nn.Module) -> Piece:
        """Channels, kernel, stride, padding, dilation, groups, bias."""
        layer = cast(nn.Conv2d, module)
        return Piece(
            layer.in_channels,
            layer.out_channels,
            kernel=tuple(layer.kernel_size),
            stride=tuple(layer.stride),
            padding=_padding(layer),
            dilation=tuple(layer.dilation),
            groups=layer.groups,
            bias=layer.bias is not None,
            padding_mode=layer.padding_mode,
        )

    def plain(self, piece: Piece, like: Tensor) -> nn.Module:
        """``nn.Conv2d``."""
        kernel, stride, padding, dilation = ((v[0], v[1]) for v in _geometry(piece))
        return nn.Conv2d(
            piece.inputs,
            piece.outputs,
            kernel,
            stride,
            padding,
            dilation,
            piece.groups,
            piece.bias,
            piece.padding_mode,  # type: ignore[arg-type]
            "meta",
            like.dtype,
        ).to_empty(device=like.device)

    def size(self, module: nn.Module, x: Tensor) -> Size:
        """Height and width."""
        return tuple(x.shape[-2:])

    def geometry(self, module: nn.Module) -> Hashable:
        """Everything except the number of output channels and the bias."""
        p = self.piece(module)
        return (p.kernel, p.stride, p.padding, p.dilation, p.groups, p.padding_mode)

    def input_sums(self, module: nn.Module, x: Tensor) -> InputSums:
        """Cost: the same as ``patch_gram``; the batch is never unfolded."""
        piece = self.piece(module)
        maps = (x if x.dim() == 4 else x[None]).float()
        kernel, stride, padding, dilation = ((v[0], v[1]) for v in _geometry(piece))
        if piece.padding_mode != "zeros":
            (down, across), mode = padding, piece.padding_mode
            maps, padding = F.pad(maps, (across, across, down, down), mode=mode), (0, 0)
        window = Window(kernel, stride, padding, dilation, piece.groups)
        height, width = (window.positions(axis, n) for axis, n in enumerate(maps.shape[2:]))
        gram, total = patch_gram(maps, window), patch_total(maps, window)
        return InputSums(gram, total, len(maps) * height * width)

    def output_gram(self, module: nn.Module, grad: Tensor) -> Float[Tensor, "groups out out"]:
        """Cost: O(n · height · width · out² / groups)."""
        maps = (grad if grad.dim() == 4 else grad[None]).float()
        groups = self.piece(module).groups
        return row_gram(maps.flatten(2).unflatten(1, (groups, -1)))


def _geometry(piece: Piece) -> tuple[Size, Size, Size, Size]:
    return piece.kernel, piece.stride, piece.padding, piece.dilation


def _padding(layer: nn.Conv2d) -> Size:
    """Explicit padding; 'same' on an even extent is refused."""
    if layer.padding == "same":
        spans = zip(layer.kernel_size, layer.dilation, strict=True)
        return tuple(d * (k - 1) // 2 for k, d in spans)
    return (0, 0) if layer.padding == "valid" else tuple(cast(tuple[int, int], layer.padding))
