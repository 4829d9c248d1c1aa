"""Which of the teacher's channels a smaller network still has, and on which axis they lie."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from eckart.layers import Factored, norm_width, piece_of, type_of
from eckart.records import Plan
from eckart.running.masks import Masks, real_part


@dataclass(frozen=True)
class Kept:
    """The channels that are left of one of the teacher's modules; None means all of them.

    Attributes:
        rows: at its output.
        columns: at its input.
    """

    rows: Tensor | None = None
    columns: Tensor | None = None

    def of(self, output: Tensor, axis: int) -> Tensor:
        """The part of a tensor that is left; ``axis`` holds all output channels of the teacher."""
        return output if self.rows is None else output.index_select(axis, self.rows)


def kept_channels(plan: Plan | None, teacher: nn.Module, name: str) -> Kept:
    """The channels of a module that a plan leaves."""
    module = teacher.get_submodule(name)
    device = next((p.device for p in module.parameters()), None)
    rows = columns = None
    for removal in plan.removals.values() if plan else ():
        group, units = removal.group, removal.kept
        if name in {**group.writers, **group.followers}:
            width = norm_width(module) or piece_of(module).outputs
            rows = torch.tensor(group.rows_left(name, units, width), device=device)
        if name in group.readers:
            width = piece_of(module).inputs
            columns = torch.tensor(group.columns_left(name, units, width), device=device)
    return Kept(rows, columns)


def is_what_is_left(module: nn.Module, dense: nn.Module, kept: Kept) -> bool:
    """Whether a module has the widths that the plan leaves of the teacher's module."""
    wanted = tuple(
        width if left is None else len(left)
        for width, left in zip(_ends(dense), (kept.rows, kept.columns), strict=True)
    )
    return wanted == _ends(module) or (_is_by_channel(dense) and wanted[0] == _ends(module)[0])


def _ends(module: nn.Module) -> tuple[int, int]:
    """The numbers of output and input channels."""
    width = norm_width(module)
    if width is not None:
        return width, width
    pieces = module.form.pieces if isinstance(module, Factored) else (piece_of(module),)
    return pieces[-1].outputs, pieces[0].inputs


def _is_by_channel(module: nn.Module) -> bool:
    return norm_width(module) is not None or piece_of(module).is_depthwise


def narrowed_matrix(matrix: Tensor, module: nn.Module, kept: Kept) -> Tensor:
    """The part of a teacher's (groups, out, in) matrix between the channels that are left."""
    piece = piece_of(module)
    if piece.is_depthwise:
        return kept.of(matrix, 0)
    matrix = kept.of(matrix, 1)
    return matrix if kept.columns is None else matrix[..., entries(module, kept)]


def entries(module: nn.Module, kept: Kept) -> Int64[Tensor, " entries"]:
    """Which entries of a row of the weight belong to the input channels that are left."""
    groups, _, row = piece_of(module).matrix_shape
    channels = piece_of(module).inputs // groups
    every = torch.arange(row).reshape(channels, -1)
    if kept.columns is not None:
        every = every.index_select(0, kept.columns.cpu())
    return every.reshape(-1)


def last_piece(module: nn.Module) -> nn.Module:
    """The module itself, or the last piece of a chain: the one that has the bias."""
    return module[-1] if isinstance(module, Factored) else module


def channel_axis(module: nn.Module, output: Tensor) -> int:
    """The axis of a module's output channels: the last for a matrix, otherwise the second."""
    first = module[0] if isinstance(module, Factored) else module
    kind = type_of(first)
    is_matrix = kind is not None and not kind.piece(first).kernel
    return output.dim() - 1 if is_matrix else 1


def by_row(module: nn.Module, output: Tensor, masks: Masks = ()) -> Tensor:
    """The output as (rows, channels), without the rows that the masks mark as padding."""
    axis = channel_axis(module, output)
    if axis == output.dim() - 1:
        return real_part(output, masks).flatten(0, -2)
    return output.movedim(axis, -1).flatten(0, -2)


def along(vector: Tensor, output: Tensor, axis: int) -> Tensor:
    """One number per channel, shaped to broadcast against an output, in its dtype."""
    return vector.reshape([-1 if i == axis else 1 for i in range(output.dim())]).to(output)
