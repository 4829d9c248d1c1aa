"""Tensor to tensor: no modules, no files."""

from eckart.linalg.elimination import (
    Reader,
    backward_elimination,
    nested_removal_losses,
    refit,
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
    "NestedFactors",
    "Reader",
    "SeparableFactors",
    "Window",
    "backward_elimination",
    "damped",
    "factor",
    "nested_losses",
    "nested_removal_losses",
    "output_projection",
    "patch_gram",
    "patch_total",
    "quadratic_loss",
    "refit",
    "roots",
    "row_gram",
    "separable_factors",
    "truncated_svd",
]
