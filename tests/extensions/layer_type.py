"""A layer type from outside."""

from collections.abc import Hashable

from torch import Tensor, nn

from eckart.layers import InputSums
from eckart.records import Piece


class Conv1dType:
    """``nn.Conv1d`` with zero padding."""

    name = "conv1d"
    module: type[nn.Module] = nn.Conv1d

    def refusal(self, module: nn.Module) -> str | None:
        return None if module.groups == 1 else "groups are not for this example"

    def piece(self, module: nn.Module) -> Piece:
        return Piece(
            module.in_channels,
            module.out_channels,
            module.kernel_size,
            stride=module.stride,
            padding=module.padding,
            dilation=module.dilation,
            groups=module.groups,
            bias=module.bias is not None,
        )

    def plain(self, piece: Piece, like: Tensor) -> nn.Module:
        geometry = (piece.kernel, piece.stride, piece.padding, piece.dilation)
        layer = nn.Conv1d(piece.inputs, piece.outputs, *geometry, piece.groups, piece.bias)
        return layer.to(like)

    def size(self, module: nn.Module, x: Tensor) -> tuple[int, ...]:
        return tuple(x.shape[-1:])

    def geometry(self, module: nn.Module) -> Hashable:
        return self.piece(module).axes

    def input_sums(self, module: nn.Module, x: Tensor) -> InputSums:
        ((kernel, stride, padding, dilation),) = self.piece(module).axes
        unfolded = nn.functional.unfold(
            x[:, :, None].float(), (1, kernel), (1, dilation), (0, padding), (1, stride)
        )
        rows = unfolded.transpose(1, 2).flatten(0, 1)
        return InputSums((rows.T @ rows)[None], rows.sum(0)[None], len(rows))

    def output_gram(self, module: nn.Module, grad: Tensor) -> Tensor:
        rows = grad.float().transpose(1, 2).flatten(0, 1)
        return (rows.T @ rows)[None]
