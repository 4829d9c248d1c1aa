"""Linear algebra on tensors. Nothing here knows of modules or files."""

from eckart.linalg.black_box.search import BlackBoxRank, black_box_rank
from eckart.linalg.calculus.factor_fitting import (
    FactorFit,
    alternating_least_squares,
    gradient_refinement,
)
from eckart.linalg.calculus.factor_gradients import frobenius_gradients, weighted_gradients
from eckart.linalg.calculus.lanczos import LargestEigenvalue, largest_eigenvalue
from eckart.linalg.calculus.rayleigh import rayleigh_gradient, rayleigh_hessian, rayleigh_quotient
from eckart.linalg.canonical import (
    CanonicalFactors,
    canonical_factors,
    canonical_path,
    canonical_refined,
)
from eckart.linalg.elimination import (
    Reader,
    Removals,
    backward_elimination,
    backward_removals,
    nested_removal_losses,
    refit,
)
from eckart.linalg.example_gradients import gradient_grams
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
from eckart.linalg.interpolative import (
    SpanningRows,
    spanning_rows,
)
from eckart.linalg.low_rank import (
    NestedFactors,
    nested_losses,
    output_projection,
    projection_losses,
    truncated_svd,
)
from eckart.linalg.patch_window import Window
from eckart.linalg.patches import patch_gram, patch_total, row_gram
from eckart.linalg.randomised.gaussian import random_factors
from eckart.linalg.randomised.ranges import (
    AdaptiveRange,
    adaptive_range,
    range_error_bound,
    range_finder,
    subspace_iteration,
)
from eckart.linalg.randomised.svd import randomized_svd
from eckart.linalg.randomised.weighted_range import WeightedComponents, weighted_components
from eckart.linalg.ranks.rules import (
    effective_rank,
    energy_rank,
    gavish_donoho_rank,
    numerical_rank,
    priced_rank,
    stable_rank,
)
from eckart.linalg.ranks.variational_bayes import VariationalRank, variational_rank
from eckart.linalg.regression import least_squares, reduced_rank_regression
from eckart.linalg.separable import SeparableFactors, separable_factors
from eckart.linalg.separable_search import SeparablePair, separable_refined
from eckart.linalg.tucker import NestedTucker, Tucker2, tucker2
from eckart.linalg.whitening import damped, factor, quadratic_loss, roots

__all__ = [
    "AdaptiveRange",
    "BlackBoxRank",
    "CanonicalFactors",
    "FactorFit",
    "GroupLassoPath",
    "GroupLassoResult",
    "History",
    "LargestEigenvalue",
    "NestedFactors",
    "NestedTucker",
    "Reader",
    "Removals",
    "SeparableFactors",
    "SeparablePair",
    "SpanningRows",
    "Tucker2",
    "VariationalRank",
    "WeightedComponents",
    "Window",
    "adaptive_range",
    "alpha_max",
    "alternating_least_squares",
    "alternating_minimisation",
    "backward_elimination",
    "backward_removals",
    "black_box_rank",
    "canonical_factors",
    "canonical_path",
    "canonical_refined",
    "damped",
    "debias",
    "effective_rank",
    "energy_rank",
    "factor",
    "fista",
    "frobenius_gradients",
    "gavish_donoho_rank",
    "gradient_grams",
    "gradient_refinement",
    "group_lasso",
    "group_lasso_path",
    "largest_eigenvalue",
    "least_squares",
    "nested_losses",
    "nested_removal_losses",
    "numerical_rank",
    "output_projection",
    "patch_gram",
    "patch_total",
    "priced_rank",
    "projection_losses",
    "prox",
    "proximal_gradient",
    "quadratic_loss",
    "random_factors",
    "randomized_svd",
    "range_error_bound",
    "range_finder",
    "rayleigh_gradient",
    "rayleigh_hessian",
    "rayleigh_quotient",
    "reduced_rank_regression",
    "refit",
    "roots",
    "row_gram",
    "separable_factors",
    "separable_refined",
    "spanning_rows",
    "stable_rank",
    "subspace_iteration",
    "truncated_svd",
    "tucker2",
    "variational_rank",
    "weighted_components",
    "weighted_gradients",
]
