"""Other solvers of the group lasso on single columns, in their best form: on a factor of R."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from skglm.datafits import QuadraticMultiTask
from skglm.penalties import L2_1
from skglm.solvers import MultiTaskBCD
from sklearn.linear_model import MultiTaskLasso
from torch import Tensor


@dataclass(frozen=True)
class Regression:
    """``X``, ``Y`` with ``XᵀX/n = R`` and ``YᵀX/n = B``: the same objective up to a constant."""

    x: Float64[np.ndarray, "n d"]
    y: Float64[np.ndarray, "n h"]


def regression(gram: Float64[Tensor, "d d"], cross: Float64[Tensor, "h d"]) -> Regression:
    """The smallest regression with these moments: as many rows as the rank of ``R``."""
    values, vectors = torch.linalg.eigh(gram)
    kept = values > values[-1] * len(values) * torch.finfo(values.dtype).eps
    root, vectors = values[kept].sqrt(), vectors[:, kept]
    scale = len(root) ** 0.5
    x = scale * root[:, None] * vectors.mT
    y = scale * (vectors.mT @ cross.mT) / root[:, None]
    return Regression(np.asfortranarray(x.numpy()), np.asfortranarray(y.numpy()))


def skglm(problem: Regression, alpha: float, tol: float, start: Tensor | None = None) -> Tensor:
    """skglm's block coordinate descent with Anderson acceleration; ``tol`` relative to alpha."""
    solver = MultiTaskBCD(tol=tol * alpha, max_iter=500, use_acc=True, fit_intercept=False)
    datafit, penalty = QuadraticMultiTask(), L2_1(alpha)
    w = None if start is None else np.ascontiguousarray(start.mT.numpy())
    xw = None if w is None else np.asfortranarray(problem.x @ w)
    found = solver.solve(problem.x, problem.y, datafit, penalty, w, xw)
    return torch.from_numpy(np.array(found[0])).mT


def sklearn(problem: Regression, alpha: float, tol: float, start: Tensor | None = None) -> Tensor:
    """scikit-learn's coordinate descent; ``tol`` on the gap relative to ``‖Y‖²``."""
    model = MultiTaskLasso(alpha, fit_intercept=False, tol=tol, max_iter=100_000, warm_start=True)
    if start is not None:
        model.coef_ = np.asfortranarray(start.numpy())
    return torch.from_numpy(np.array(model.fit(problem.x, problem.y).coef_))


def working_set_fista(
    gram: Float64[Tensor, "d d"], cross: Float64[Tensor, "h d"], alpha: float, tol: float
) -> Tensor:
    """First order on a working set: rows turned to its size, FISTA with restarts inside."""
    m = torch.zeros_like(cross)
    for _ in range(60):
        active = (m != 0).any(0)
        excess = _violation(gram, cross, m, alpha)
        if excess.max() < tol * alpha:
            break
        rest = (~active & (excess > 0)).nonzero().flatten()
        order = excess[rest].argsort(descending=True)
        columns = torch.cat([active.nonzero().flatten(), rest[order[: max(10, int(active.sum()))]]])
        turn = torch.linalg.qr(cross[:, columns])[0] if len(cross) > len(columns) else None
        b, start = cross[:, columns], m[:, columns]
        if turn is not None:
            b, start = turn.mT @ b, turn.mT @ start
        inner = _restarted(gram[columns][:, columns], b, start, alpha, tol / 3)
        m = torch.zeros_like(m)
        m[:, columns] = inner if turn is None else turn @ inner
    return m


def _restarted(gram: Tensor, cross: Tensor, m: Tensor, alpha: float, tol: float) -> Tensor:
    step, ahead, t = 1 / float(torch.linalg.eigvalsh(gram)[-1]), m, 1.0
    for k in range(20_000):
        v = ahead - (ahead @ gram - cross) * step
        shrunk = (1 - alpha * step / torch.linalg.vector_norm(v, dim=0)).clamp_min_(0)
        new = v * shrunk
        delta = new - m
        if ((ahead - new) * delta).sum() > 0:
            t = 1.0
        following = (1 + (1 + 4 * t * t) ** 0.5) / 2
        ahead, m, t = new + ((t - 1) / following) * delta, new, following
        if k % 20 == 19 and _violation(gram, cross, m, alpha).max() < tol * alpha:
            break
    return m


def _violation(gram: Tensor, cross: Tensor, m: Tensor, alpha: float) -> Tensor:
    """The distance of each column's gradient to the subdifferential of the penalty."""
    g, norms = cross - m @ gram, torch.linalg.vector_norm(m, dim=0)
    inside = torch.linalg.vector_norm(g - alpha * m / norms.clamp_min(1e-300), dim=0)
    outside = (torch.linalg.vector_norm(g, dim=0) - alpha).clamp_min(0)
    return torch.where(norms > 0, inside, outside)
