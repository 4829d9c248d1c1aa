"""Tensor to tensor: no modules, no files."""

from eckart.linalg.black_box import BlackBoxRank, black_box_rank
from eckart.linalg.low_rank import (
    NestedFactors,
    nested_losses,
    output_projection,
    truncated_svd,
)
from eckart.linalg.patches import Window, patch_gram, patch_total, row_gram
from eckart.linalg.randomized import randomized_svd
from eckart.linalg.ranges import (
    AdaptiveRange,
    adaptive_range,
    range_error_bound,
    range_finder,
    subspace_iteration,
)
from eckart.linalg.rank_estimation import (
    effective_rank,
    energy_rank,
    gavish_donoho_rank,
    numerical_rank,
    stable_rank,
)
from eckart.linalg.separable import SeparableFactors, separable_factors
from eckart.linalg.variational_rank import VariationalRank, variational_rank
from eckart.linalg.weighted_range import WeightedComponents, weighted_components
from eckart.linalg.whitening import damped, factor, quadratic_loss, roots

__all__ = [
    "AdaptiveRange",
    "BlackBoxRank",
    "NestedFactors",
    "SeparableFactors",
    "VariationalRank",
    "WeightedComponents",
    "Window",
    "adaptive_range",
    "black_box_rank",
    "damped",
    "effective_rank",
    "energy_rank",
    "factor",
    "gavish_donoho_rank",
    "nested_losses",
    "numerical_rank",
    "output_projection",
    "patch_gram",
    "patch_total",
    "quadratic_loss",
    "randomized_svd",
    "range_error_bound",
    "range_finder",
    "roots",
    "row_gram",
    "separable_factors",
    "stable_rank",
    "subspace_iteration",
    "truncated_svd",
    "variational_rank",
    "weighted_components",
]
