"""Check the arguments of the group lasso, for one consumer or several, and convert to float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from eckart.errors import InputError, NonFiniteError

_ASYMMETRY = 1e-6  # relative to the largest entry; sums of float32 products reach 1e-7


@dataclass(frozen=True)
class Moments:
    """One consumer as given: ``R``, ``B`` and the group of each column, -1 if unpenalised."""

    gram: Float64[Tensor, "d d"]
    cross: Float64[Tensor, "h d"]
    owner: Int64[Tensor, " d"]


def read_consumers(
    gram: Tensor | Sequence[Tensor],
    cross: Tensor | Sequence[Tensor],
    groups: Sequence[Any] | None,
    unpenalised: Sequence[Any],
) -> tuple[Moments, ...]:
    """Check the moments of all consumers and return them.

    Raises:
        InputError: shapes that do not fit; a dtype that is not real floating point; a Gram matrix
            that is not symmetric; groups that overlap or do not cover the penalised columns.
        NonFiniteError: NaN or infinity.
    """
    if isinstance(gram, Tensor) and isinstance(cross, Tensor):
        wrapped = None if groups is None else [groups]
        return (_consumer(gram, cross, wrapped, 0, unpenalised),)
    if isinstance(gram, Tensor) or isinstance(cross, Tensor):
        raise InputError("gram and cross: got a tensor and a list; give two tensors or two lists")
    if not gram or len(gram) != len(cross):
        got = f"got lists of {len(gram)} and {len(cross)}"
        raise InputError(f"gram and cross: {got}; expected one of each per consumer")
    free = list(unpenalised) or [()] * len(gram)
    for name, lists in (("groups", groups), ("unpenalised", free)):
        if lists is not None and len(lists) != len(gram):
            got = f"{len(lists)} lists for {len(gram)} consumers"
            raise InputError(f"{name}: {got}; give one list per consumer")
    pairs = enumerate(zip(gram, cross, strict=True))
    read = tuple(_consumer(r, b, groups, c, free[c]) for c, (r, b) in pairs)
    _same_groups(read, groups)
    return read


def read_weights(
    weights: Tensor | Sequence[float] | None, count: int
) -> Float64[Tensor, " groups"]:
    """Check that there is one positive weight per group; ones by default."""
    if weights is None:
        return torch.ones(count, dtype=torch.float64)
    read = torch.as_tensor(weights).double()
    if read.shape != (count,):
        raise InputError(f"weights: shape {tuple(read.shape)} for {count} groups; give one each")
    if not torch.isfinite(read).all():
        raise NonFiniteError("weights hold NaN or infinity")
    if not (read > 0).all():
        raise InputError("weights must be positive; to free columns, list them in `unpenalised`")
    return read


def read_alpha(alpha: float) -> float:
    """Check that a penalty is finite and not negative."""
    if not math.isfinite(alpha):
        raise NonFiniteError(f"alpha = {alpha}: expected a finite number")
    if alpha < 0:
        raise InputError(f"alpha = {alpha}: expected 0 or more")
    return float(alpha)


def read_matrix(name: str, matrix: Any) -> Float64[Tensor, "rows columns"]:
    """Check that a matrix is real and finite, and return it in float64."""
    if not isinstance(matrix, Tensor):
        raise InputError(f"{name}: got {type(matrix).__name__}, expected a torch.Tensor")
    if not matrix.is_floating_point():
        raise InputError(f"{name}: got {matrix.dtype}, expected a real floating point dtype")
    if matrix.dim() != 2:
        raise InputError(f"{name}: got shape {tuple(matrix.shape)}, expected a matrix")
    if not torch.isfinite(matrix).all():
        raise NonFiniteError(f"{name} holds NaN or infinity")
    return matrix.detach().double()


def _consumer(
    gram: Any, cross: Any, groups: Sequence[Any] | None, index: int, free: Sequence[Any]
) -> Moments:
    """One consumer; its groups are ``groups[index]``, or its penalised columns one by one."""
    where = f"consumer {index}: " if groups is not None and len(groups) > 1 else ""
    r, b = read_matrix(where + "gram", gram), read_matrix(where + "cross", cross)
    width = r.shape[1]
    if r.shape[0] != width or b.shape[1] != width:
        raise InputError(
            f"{where}gram has shape {tuple(r.shape)} and cross {tuple(b.shape)}; "
            "expected (in, in) and (out, in)"
        )
    unseen = (r.diagonal() == 0) & (b != 0).any(0)
    if unseen.any():
        column = int(unseen.nonzero()[0])
        raise InputError(
            f"{where}column {column} is zero in gram but not in cross; take both from the same data"
        )
    if width and float((r - r.mT).abs().max()) > _ASYMMETRY * float(r.abs().max()):
        raise InputError(f"{where}gram is not symmetric; average it with its transpose")
    owner = _owners(None if groups is None else groups[index], free, width, where)
    return Moments((r + r.mT) / 2, b, owner.to(r.device))


def _owners(
    groups: Sequence[Any] | None, free: Sequence[Any], width: int, where: str
) -> Int64[Tensor, " d"]:
    """The group of each column, -1 if unpenalised; every column has exactly one place."""
    owner, placed = [-1] * width, [False] * width
    for column in _columns(free, width, f"{where}unpenalised", placed):
        owner[column] = -1
    if groups is None:  # every other column is a group by itself
        left = ~torch.tensor(placed, dtype=torch.bool)
        return torch.where(left, left.cumsum(0) - 1, -1)
    for group, members in enumerate(groups):
        for column in _columns(members, width, f"{where}group {group}", placed):
            owner[column] = group
    if not all(placed):
        missing = [column for column in range(width) if not placed[column]]
        raise InputError(f"{where}columns {missing[:5]} are neither in a group nor unpenalised")
    return torch.tensor(owner, dtype=torch.int64)


def _columns(members: Sequence[Any], width: int, name: str, placed: list[bool]) -> list[int]:
    """Read column indices and mark them as placed; an index must be in range and not yet taken."""
    read = [int(column) for column in members]
    for column in read:
        if not 0 <= column < width:
            raise InputError(f"{name}: column {column} does not exist; there are {width} columns")
        if placed[column]:
            raise InputError(f"{name}: column {column} is in two places; groups must not overlap")
        placed[column] = True
    return read


def count_groups(consumers: Sequence[Moments]) -> int:
    """The number of groups of all consumers together."""
    return max((int(c.owner.max()) + 1 for c in consumers if c.owner.numel()), default=0)


def _same_groups(consumers: tuple[Moments, ...], groups: Sequence[Any] | None) -> None:
    """Check that all consumers have the same number of groups."""
    counts = [
        count_groups([c]) if groups is None else len(groups[i]) for i, c in enumerate(consumers)
    ]
    if len(set(counts)) > 1:
        raise InputError(f"consumers have {counts} groups; expected the same number for each")
