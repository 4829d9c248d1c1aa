"""Tensor to tensor: no modules, no files."""

from eckart.linalg.elimination import (
    Reader,
    backward_elimination,
    nested_removal_losses,
    refit,
)
from eckart.linalg.group_sparsity import (
    GroupLassoPath,
    GroupLassoResult,
    History,
    alpha_max,
    alternating_minimisation,
    debias,
    fista,
    group_lasso,
    group_lasso_path,
    prox,
    proximal_gradient,
)
from eckart.linalg.low_rank import (
    NestedFactors,
    nested_losses,
    output_projection,
    truncated_svd,
)
from eckart.linalg.patches import Window, patch_gram, patch_total, row_gram
from eckart.linalg.separable import SeparableFactors, separable_factors
from eckart.linalg.whitening import damped, factor, quadratic_loss, roots

__all__ = [
    "GroupLassoPath",
    "GroupLassoResult",
    "History",
    "NestedFactors",
    "Reader",
    "SeparableFactors",
    "Window",
<<<<<<< HEAD
    "backward_elimination",
=======
    "alpha_max",
    "alternating_minimisation",
    "damped",
    "debias",
    "factor",
    "fista",
    "group_lasso",
    "group_lasso_path",
    "nested_losses",
    "nested_removal_losses",
    "output_projection",
    "patch_gram",
    "patch_total",
    "prox",
    "proximal_gradient",
    "quadratic_loss",
    "refit",
    "roots",
    "row_gram",
    "separable_factors",
    "truncated_svd",
]
