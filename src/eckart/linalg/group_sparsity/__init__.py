"""The group lasso on second moments: a solver to use, and three textbook methods to learn from."""

from eckart.linalg.group_sparsity.debiasing import debias
from eckart.linalg.group_sparsity.path import group_lasso_path
from eckart.linalg.group_sparsity.result import GroupLassoPath, GroupLassoResult
from eckart.linalg.group_sparsity.solver import alpha_max, group_lasso
from eckart.linalg.group_sparsity.taught.accelerated import fista
from eckart.linalg.group_sparsity.taught.alternating import alternating_minimisation
from eckart.linalg.group_sparsity.taught.history import History
from eckart.linalg.group_sparsity.taught.proximal import prox, proximal_gradient

__all__ = [
    "GroupLassoPath",
    "GroupLassoResult",
    "History",
    "alpha_max",
    "alternating_minimisation",
    "debias",
    "fista",
    "group_lasso",
    "group_lasso_path",
    "prox",
    "proximal_gradient",
]
