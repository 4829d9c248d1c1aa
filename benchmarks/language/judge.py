"""How far the embeddings of one encoder are from those of another, with paired errors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor, nn

from benchmarks.language.sentences import Pairs
from benchmarks.measuring.results_file import Row
from benchmarks.subjects.language import Batch
from eckart.metrics import Embedding

DRAWS = 1000  # of the bootstrap
Array = NDArray[np.float64]


@torch.no_grad()
def embeddings(model: nn.Module, batches: Sequence[Batch]) -> Tensor:
    """One vector of unit length per sentence."""
    observed = Embedding().observed
    return torch.cat([observed(model(**batch), batch) for batch in batches])


@dataclass(frozen=True, eq=False)
class Judge:
    """The data that a network's embeddings are compared with.

    Attributes:
        pairs, scores: sentence pairs of the dev split, and their human scores.
        held_out: sentences that were not used for calibration.
        dense: the original network.
    """

    pairs: Pairs
    scores: list[float]
    held_out: list[Batch]
    dense: nn.Module

    def similarities(self, model: nn.Module) -> Array:
        """The cosine of each pair."""
        first, second = (embeddings(model, side) for side in zip(*self.pairs, strict=True))
        return (first * second).sum(1).double().numpy()

    @cached_property
    def before(self) -> tuple[Array, Tensor]:
        """The dense network's similarities, and its embeddings of the held-out sentences."""
        return self.similarities(self.dense), embeddings(self.dense, self.held_out)

    def row(self, model: nn.Module, peer: nn.Module | None = None) -> Row:
        """Spearman's correlation, its drop, and the drop minus half of a peer's."""
        mine, (dense, vectors) = self.similarities(model), self.before
        found = [dense, mine] if peer is None else [dense, mine, self.similarities(peer)]
        whole, errors = correlations(found, np.array(self.scores))
        row: Row = {"spearman": whole[1], "pairs": len(mine)}
        row |= {"drop": whole[0] - whole[1], "drop_error": errors(lambda r: r[0] - r[1])}
        if peer is not None:
            row["excess"] = (whole[0] + whole[2]) / 2 - whole[1]
            row["excess_error"] = errors(lambda r: (r[0] + r[2]) / 2 - r[1])
        change = (embeddings(model, self.held_out) - vectors).square().sum(1).mean()
        return {**row, "change": float(change) / 2, "sentences": len(vectors)}


def correlations(
    similarities: Sequence[Array], scores: Array
) -> tuple[list[float], Callable[[Callable[[Array], Array]], float]]:
    """The correlations with the scores, and the standard error of a function of them."""
    generator, n = np.random.default_rng(0), len(scores)
    draws = [generator.integers(0, n, n) for _ in range(DRAWS)]
    drawn = np.array([[spearmanr(s[d], scores[d]).statistic for d in draws] for s in similarities])
    whole = [float(spearmanr(s, scores).statistic) for s in similarities]
    return whole, lambda function: float(function(drawn).std())
