"""An independent solver of the group lasso for small problems, and the problems."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from random_moments import normal


@dataclass(frozen=True)
class Lasso:
    """``½ tr(M R Mᵀ) - tr(B Mᵀ) + alpha Σ w_j ‖M_j‖`` over groups of columns."""

    gram: Tensor
    cross: Tensor
    groups: Sequence[Sequence[int]]
    weights: Tensor

    def penalty(self, m: Tensor) -> float:
        norms = [m[:, list(g)].norm() * w for g, w in zip(self.groups, self.weights, strict=True)]
        return float(sum(norms))

    def smooth(self, m: Tensor) -> float:
        return float(((0.5 * m @ self.gram - self.cross) * m).sum())

    def objective(self, m: Tensor, alpha: float) -> float:
        return self.smooth(m) + alpha * self.penalty(m)

    @property
    def scale(self) -> float:
        """``½ tr(B R⁺ Bᵀ)``."""
        inverse = torch.linalg.pinv(self.gram, hermitian=True, rtol=1e-11)
        return max(0.5 * float((self.cross @ inverse * self.cross).sum()), 1e-300)

    def stationarity(self, m: Tensor, alpha: float) -> float:
        """Largest distance of a group's gradient to the subdifferential, relative to alpha."""
        residual, worst = self.cross - m @ self.gram, 0.0
        free = set(range(m.shape[1])) - {c for g in self.groups for c in g}
        if free:
            worst = float(residual[:, sorted(free)].norm()) / alpha
        for group, weight in zip(self.groups, self.weights, strict=True):
            g, part, limit = residual[:, list(group)], m[:, list(group)], alpha * float(weight)
            norm = float(part.norm())
            off = (g - limit * part / norm).norm() if norm else (g.norm() - limit).clamp_min(0)
            worst = max(worst, float(off) / limit)
        return worst

    def solved(self, alpha: float, iterations: int = 20_000) -> Tensor:
        """Accelerated proximal gradient with restarts, run long."""
        step = 1 / float(torch.linalg.eigvalsh(self.gram)[-1].clamp_min(1e-300))
        m = ahead = torch.zeros_like(self.cross)
        t = 1.0
        for _ in range(iterations):
            new = self._prox(ahead - step * (ahead @ self.gram - self.cross), alpha * step)
            change = new - m
            if float(((ahead - new) * change).sum()) > 0:
                t = 1.0
            following = (1 + (1 + 4 * t * t) ** 0.5) / 2
            ahead, t = new + (t - 1) / following * change, following
            m = new
            if float(change.norm()) <= 1e-15 * float(m.norm()):
                break
        return m

    def _prox(self, m: Tensor, amount: float) -> Tensor:
        result = m.clone()
        for group, weight in zip(self.groups, self.weights, strict=True):
            part = m[:, list(group)]
            norm = float(part.norm())
            limit = amount * float(weight)
            result[:, list(group)] = part * (1 - limit / norm) if norm > limit else 0.0
        return result


def lasso(
    d: int,
    h: int,
    *,
    seed: int,
    rank: int | None = None,
    groups: Sequence[Sequence[int]] | None = None,
    weights: Tensor | None = None,
) -> Lasso:
    """Moments of random rows whose directions spread over one order of magnitude."""
    rows = normal(d, d if rank is None else rank, seed=seed)
    rows = rows * torch.logspace(0, -1, rows.shape[1], dtype=torch.float64)
    gram = rows @ rows.mT
    if groups is None:
        groups = [[column] for column in range(d)]
    if weights is None:
        weights = torch.ones(len(groups), dtype=torch.float64)
    return Lasso(gram, normal(h, d, seed=seed + 1000) @ gram, groups, weights)
