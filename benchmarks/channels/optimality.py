"""How close solutions of the group lasso are to the optimum."""

import torch
from torch import Tensor

from eckart.linalg import group_lasso
from eckart.linalg.group_sparsity import duality
from eckart.linalg.group_sparsity.problem import prepare


class Judge:
    """How far solutions are from the optimum, relative to ``½ tr(B R⁺ Bᵀ)``."""

    def __init__(self, gram: Tensor, cross: Tensor, alpha: float) -> None:
        self.gram, self.cross, self.alpha = gram, cross, alpha
        self.problem = prepare(gram, cross)
        self.certificate = duality.certify(self.problem)
        self.scale = 0.5 * float((cross @ torch.linalg.pinv(gram, hermitian=True) * cross).sum())
        self.optimum = group_lasso(gram, cross, alpha, tol=1e-10).objective

    def objective(self, m: Tensor) -> float:
        smooth = float(((0.5 * m @ self.gram - self.cross) * m).sum())
        return smooth + self.alpha * float(m.norm(dim=0).sum())

    def gap(self, m: Tensor) -> float:
        """The certified gap of any solution, measured in the same way as for ours."""
        consumer = self.problem.consumers[0]
        columns = torch.arange(m.shape[1])
        turned = m if consumer.rotation is None else consumer.rotation.mT @ m
        residual = consumer.cross - turned @ consumer.gram
        point = duality.Point((columns,), (turned,), (residual,))
        found = duality.gap(self.problem, self.certificate, point, self.alpha)
        return found / self.certificate.scale

    def excess(self, objective: float) -> float:
        return max(objective - self.optimum, 0.0) / self.scale
