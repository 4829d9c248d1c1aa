"""A method from outside."""

import torch
from torch import Tensor

from eckart.methods import Problem, low_rank_form
from eckart.records import Form, Piece


class OutputRows:
    """Keeps whole output rows, the largest first, and gives zeros for the others."""

    name = "rows"

    def applies(self, piece: Piece) -> bool:
        return piece.groups == 1

    def losses(self, problem: Problem) -> list[tuple[Form, float]]:
        ranks = range(1, problem.weight.shape[1])
        return [(low_rank_form(problem.piece, r), self._loss(problem, r)) for r in ranks]

    def build(self, problem: Problem, form: Form) -> list[Tensor]:
        first, second = form.pieces
        kept = self._kept(problem, first.outputs)
        spread = torch.eye(problem.weight.shape[1], dtype=problem.weight.dtype)[:, kept]
        left, right = spread.reshape(second.weight_shape), problem.weight[0, kept]
        return [right.reshape(first.weight_shape), left]

    def _kept(self, problem: Problem, rank: int) -> Tensor:
        return problem.weight[0].norm(dim=1).argsort(descending=True)[:rank]

    def _loss(self, problem: Problem, rank: int) -> float:
        change = problem.weight[0].clone()
        change[self._kept(problem, rank)] = 0
        return 0.5 * float(((problem.g[0] @ change @ problem.a[0]) * change).sum())
