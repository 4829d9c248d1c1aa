"""A method from outside."""

from dataclasses import dataclass

import torch
from torch import Tensor

from eckart.methods import Problem, low_rank_form
from eckart.records import Form, Piece


@dataclass(frozen=True)
class Rows:
    """Output rows, the largest first, and the loss of keeping so many of them."""

    piece: Piece
    weight: Tensor
    order: Tensor
    losses: tuple[float, ...]


class OutputRows:
    """Keeps whole output rows, the largest first, and gives zeros for the others."""

    name = "rows"
    state = Rows

    def applies(self, piece: Piece) -> bool:
        return piece.groups == 1 and not piece.table

    def prepare(self, problem: Problem) -> Rows:
        weight, a, g = problem.weight[0], problem.a[0], problem.g[0]
        order = weight.norm(dim=1).argsort(descending=True)
        losses = []
        for rank in range(len(order)):
            change = weight.clone()
            change[order[:rank]] = 0
            losses.append(0.5 * float(((g @ change @ a) * change).sum()))
        return Rows(problem.piece, weight, order, tuple(losses))

    def losses(self, state: Rows) -> list[tuple[Form, float]]:
        ranks = range(1, len(state.losses))
        return [(low_rank_form(state.piece, rank), state.losses[rank]) for rank in ranks]

    def build(self, state: Rows, form: Form) -> list[Tensor]:
        first, second = form.pieces
        kept = state.order[: first.outputs]
        spread = torch.eye(len(state.order), dtype=state.weight.dtype)[:, kept]
        return [state.weight[kept].reshape(first.weight_shape), spread.reshape(second.weight_shape)]
