"""One first factor for several layers that read one input: low rank of their stacked weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float64
from torch import Tensor

from eckart.linalg import NestedFactors, nested_losses, nested_rows, rows_by_others
from eckart.methods.low_rank import weighted_svd
from eckart.methods.problem import Problem
from eckart.records import Form, Piece

Problems = Mapping[str, Problem]
Forms = Mapping[str, Form]


@runtime_checkable
class Sharing(Protocol):
    """A way to make several layers that read one input smaller together."""

    @property
    def name(self) -> str:
        """Name in the registry."""

    def applies(self, pieces: Sequence[Piece]) -> bool:
        """Whether it has anything to offer for layers of these shapes."""

    def losses(self, problems: Problems) -> list[dict[str, tuple[Form, float]]]:
        """Every choice: each layer's form and predicted loss.

        The first layer's chain has its first piece to itself; the forms of the others name it in
        ``first_of``.
        """

    def build(self, problems: Problems, forms: Forms) -> dict[str, list[Tensor]]:
        """The weights of each layer's pieces, in their ``weight_shape``; the first are equal."""


@final
@dataclass(frozen=True)
class SharedFactor:
    """One thin layer that several begin with, each then with its own: low rank of all as one.

    Some outputs pass through the second layers as they are: the first gives ``r`` outputs of the
    layers together, and every layer makes those of its own that are missing from all of them. That
    stores ``r`` times (inputs + all outputs - r) numbers.

    Attributes:
        name: in the registry.
        decompose: problem to factors of every rank.
    """

    name: str = "shared_svd"
    decompose: Callable[[Problem], NestedFactors] = weighted_svd

    def applies(self, pieces: Sequence[Piece]) -> bool:
        """Several layers that differ in outputs and bias at most, of one group."""
        alike = {replace(piece, outputs=1, bias=False) for piece in pieces}
        return len(pieces) > 1 and len(alike) == 1 and pieces[0].groups == 1

    def losses(self, problems: Problems) -> list[dict[str, tuple[Form, float]]]:
        """Ranks from one up to where a layer would have all of its outputs in the first."""
        stack = self._decomposed(problems)
        block = _blocks(problems)[stack.pivots.long().cpu()]
        choices = []
        for rank in range(1, len(stack.pivots) + 1):
            carried = torch.bincount(block[:rank], minlength=len(problems)).tolist()
            if any(c == p.piece.outputs for c, p in zip(carried, problems.values(), strict=True)):
                break
            forms = shared_forms({n: p.piece for n, p in problems.items()}, rank, carried)
            losses = stack.losses[:, rank].tolist()
            pairs = zip(forms.items(), losses, strict=True)
            choices.append({name: (form, loss) for (name, form), loss in pairs})
        return choices

    def build(self, problems: Problems, forms: Forms) -> dict[str, list[Tensor]]:
        """Rows of the low-rank stack, and what each layer's outputs are of them."""
        stack = self._decomposed(problems)
        first = next(iter(forms.values())).pieces[0]
        left, right = stack.left[:, : first.outputs], stack.right[: first.outputs]
        whole, kept = rows_by_others(
            left, stack.pivots[: first.outputs].long(), _blocks(problems).to(left.device)
        )
        shared = (left[kept] @ right).reshape(first.weight_shape)
        own = whole.split([problem.piece.outputs for problem in problems.values()])
        pairs = zip(forms.items(), own, strict=True)
        return {n: [shared, part.reshape(f.pieces[1].weight_shape)] for (n, f), part in pairs}

    def _decomposed(self, problems: Problems) -> StackFactors:
        """Made once; remembered with the first layer, by the names of all."""
        memory = next(iter(problems.values())).memory
        names = sha256(" ".join(problems).encode()).hexdigest()[:12]
        return memory.recall(StackFactors, f"{self.name} {names}", lambda: self._factors(problems))

    def _factors(self, problems: Problems) -> StackFactors:
        found = self.decompose(stacked(problems))
        left, right = found.left[0], found.right[0]
        parts = left.split([problem.piece.outputs for problem in problems.values()])
        losses = [
            nested_losses(part[None], right[None], problem.a, problem.g)
            for part, problem in zip(parts, problems.values(), strict=True)
        ]
        return StackFactors(left, right, torch.stack(losses), nested_rows(left))


@final
@dataclass(frozen=True)
class StackFactors:
    """``W ≈ left[:, :r] @ right[:r]`` of the layers' stacked weights, for every rank.

    Attributes:
        left: shape (all outputs, rank).
        right: shape (rank, in).
        losses: of each layer at ranks 0 to full, shape (layers, rank + 1).
        pivots: rows of which the first r span all others at rank r.
    """

    left: Float64[Tensor, "out rank"]
    right: Float64[Tensor, "rank in"]
    losses: Float64[Tensor, "layers ranks"]
    pivots: Tensor


def stacked(problems: Problems) -> Problem:
    """All layers as one that has the outputs of each in turn; G couples none of them.

    Its ``A`` is the mean of theirs, which differ where the metric takes rows jointly.
    """
    every = list(problems.values())
    scales = {problem.g_scale for problem in every}
    piece = replace(every[0].piece, outputs=sum(p.piece.outputs for p in every), bias=False)

    def g() -> Tensor:
        whole: Tensor = torch.block_diag(*(problem.g[0] for problem in every))
        return whole[None]

    return Problem(
        piece,
        torch.cat([problem.weight for problem in every], 1),
        lambda: torch.stack([problem.a for problem in every]).mean(0),
        g,
        g_scale=scales.pop() if len(scales) == 1 else None,
    )


def shared_forms(pieces: Mapping[str, Piece], rank: int, carried: Sequence[int]) -> dict[str, Form]:
    """Each layer's chain: the first piece is that of the first layer.

    Args:
        pieces: the dense layers.
        rank: outputs of the first piece.
        carried: how many of them are outputs of each layer.
    """
    owner, forms = next(iter(pieces)), dict[str, Form]()
    for (name, piece), number in zip(pieces.items(), carried, strict=True):
        first = replace(piece, outputs=rank, bias=False)
        last = replace(piece.pointwise(rank, piece.outputs, piece.bias), carries=number)
        forms[name] = Form((first, last), "" if name == owner else owner)
    return forms


def _blocks(problems: Problems) -> Tensor:
    """Which layer each row of the stack belongs to."""
    outputs = torch.tensor([problem.piece.outputs for problem in problems.values()])
    return torch.arange(len(outputs)).repeat_interleave(outputs)
