"""``nn.Conv1d``, ``nn.Conv2d``, ``nn.Conv3d``: every patch under the kernel is a row."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from math import prod
from typing import Any, cast, final

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd

from eckart.layers.registry import InputSums
from eckart.linalg import Window, patch_gram, patch_total, row_gram
from eckart.records import Piece
from eckart.records.pieces import Size

_CLASSES = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@final
@dataclass(frozen=True)
class ConvType:
    """Any stride, padding, padding mode, dilation and groups; depthwise: one channel per group.

    Attributes:
        axes: number of spatial axes.
    """

    axes: int

    @property
    def name(self) -> str:
        """``conv1d``, ``conv2d`` or ``conv3d``."""
        return f"conv{self.axes}d"

    @property
    def module(self) -> type[nn.Module]:
        """The class."""
        return _CLASSES[self.axes - 1]

    def refusal(self, module: nn.Module) -> str | None:
        """Nothing is refused."""
        return None

    def piece(self, module: nn.Module) -> Piece:
        """Channels, kernel, stride, padding, dilation, groups, bias."""
        layer = cast(_ConvNd, module)
        padding, extra = _padding(layer)
        return Piece(
            layer.in_channels,
            layer.out_channels,
            kernel=tuple(layer.kernel_size),
            stride=tuple(layer.stride),
            padding=padding,
            dilation=tuple(layer.dilation),
            groups=layer.groups,
            bias=layer.bias is not None,
            padding_mode=layer.padding_mode,
            extra=extra,
        )

    def plain(self, piece: Piece, like: Tensor) -> nn.Module:
        """The class itself."""
        return plain_convolution(piece, like)

    def size(self, module: nn.Module, x: Tensor) -> Size:
        """The spatial axes, such as height and width."""
        return tuple(x.shape[-self.axes :])

    def geometry(self, module: nn.Module) -> Hashable:
        """Everything except the number of output channels and the bias."""
        piece = self.piece(module)
        return (piece.axes, piece.groups, piece.padding_mode)

    def input_sums(self, module: nn.Module, x: Tensor) -> InputSums:
        """Cost: the same as ``patch_gram``; the batch is never unfolded."""
        piece = self.piece(module)
        maps, window = _padded(batched(x, self.axes).float(), piece)
        gram, total = patch_gram(maps, window), patch_total(maps, window)
        positions = prod(window.positions(axis, n) for axis, n in enumerate(maps.shape[2:]))
        return InputSums(gram, total, len(maps) * positions)

    def output_gram(self, module: nn.Module, grad: Tensor) -> Float[Tensor, "groups out out"]:
        """Cost: O(n · positions · out² / groups)."""
        maps = batched(grad, self.axes).float()
        groups = self.piece(module).groups
        return row_gram(maps.flatten(2).unflatten(1, (groups, -1)))


def plain_convolution(piece: Piece, like: Tensor) -> nn.Module:
    """An uninitialised convolution, transposed or not, with the dtype and device of ``like``."""
    which, sizes = len(piece.kernel) - 1, (piece.inputs, piece.outputs, piece.kernel, piece.stride)
    given: dict[str, Any] = {
        "padding": "same" if piece.extra else piece.padding,
        "dilation": piece.dilation,
        "groups": piece.groups,
        "bias": piece.bias,
        "padding_mode": piece.padding_mode,
        "device": "meta",
        "dtype": like.dtype,
    }
    if piece.transposed:
        extra = piece.extra or (0,) * len(piece.kernel)
        given |= {"padding": piece.padding, "output_padding": extra}
    make: Any = (_TRANSPOSED if piece.transposed else _CLASSES)[which]
    layer: nn.Module = make(*sizes, **given)
    return layer.to_empty(device=like.device)


def transposed_class(axes: int) -> type[nn.Module]:
    """``nn.ConvTranspose1d``, ``2d`` or ``3d``."""
    return _TRANSPOSED[axes - 1]


def batched(x: Tensor, axes: int) -> Tensor:
    """Maps with a batch axis, which torch's convolutions do not insist on."""
    return x if x.dim() == axes + 2 else x[None]


def _padded(maps: Tensor, piece: Piece) -> tuple[Tensor, Window]:
    """Maps with the padding that is not zero or not the same at both ends, and the window left."""
    extra = piece.extra or (0,) * len(piece.kernel)
    both, mode = piece.padding, piece.padding_mode
    if mode != "zeros":
        ends = [(pad, pad + more) for pad, more in zip(both, extra, strict=True)]
        maps = F.pad(maps, [n for pair in reversed(ends) for n in pair], mode=mode)
        both = (0,) * len(both)
    elif piece.extra:
        maps = F.pad(maps, [n for more in reversed(extra) for n in (0, more)])
    return maps, Window(piece.kernel, piece.stride, both, piece.dilation, piece.groups)


def _padding(layer: _ConvNd) -> tuple[Size, Size]:
    """The padding at both ends of each axis, and what 'same' adds at the end of an even extent."""
    if isinstance(layer.padding, str):
        same = layer.padding == "same"
        spans = zip(layer.kernel_size, layer.dilation, strict=True)
        whole = [d * (k - 1) if same else 0 for k, d in spans]
        extra = tuple(span % 2 for span in whole)
        return tuple(span // 2 for span in whole), extra if any(extra) else ()
    return tuple(layer.padding), ()
