"""What rounded activations cost a layer: noise on its inputs and on its outputs.

An error in the inputs of covariance ``N`` loses ``½ tr(G W N Wᵀ)``, and one in the outputs
``½ tr(G N)``. Rounding errors of different numbers are independent, so ``N`` is diagonal.
"""

from __future__ import annotations

import torch

from eckart.methods.problem import Problem
from eckart.network.activation_ranges import Weighing


def weighing_of(problem: Problem) -> Weighing:
    """What a squared error in each channel of a layer costs, twice; O(out² in)."""
    read = (problem.weight * (problem.g @ problem.weight)).sum(1)
    each = read.reshape(problem.piece.inputs, -1).sum(1)
    written = torch.diagonal(problem.g, dim1=1, dim2=2).flatten()
    return Weighing(each, written)


def noise_share(narrow: Problem, whole: Problem) -> float:
    """The cost of the same errors in a layer that lost channels, as a share of all it was."""
    before, after = (weighing_of(p) for p in (whole, narrow))
    total = float(before.inputs.sum() + before.outputs.sum())
    return float(after.inputs.sum() + after.outputs.sum()) / total if total > 0 else 1.0
