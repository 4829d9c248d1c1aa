"""The methods, one per file, and their registry."""

from eckart.methods.activations import noise_share, weighing_of
from eckart.methods.building import Built, built
from eckart.methods.by_rank import ByRank, Foreseeing
from eckart.methods.cache import Cache, prepared_as, title_of
from eckart.methods.canonical import Canonical, canonical_form
from eckart.methods.chains import can_have_codes
from eckart.methods.low_rank import (
    LowRank,
    activation_svd,
    low_rank_form,
    weighted_losses,
    weighted_svd,
)
from eckart.methods.low_rank import svd as plain_svd
from eckart.methods.narrowing import Heirs, heirs, narrowed_problem, unit_moment
from eckart.methods.problem import Problem, problem_of, regular
from eckart.methods.reading import Reading, reading_of
from eckart.methods.refining import Refined, Refining
from eckart.methods.registry import (
    DEFAULT_METHODS,
    METHODS,
    ONLY_FOR,
    SELECTIONS,
    TRANSFORMER_METHODS,
    Method,
    Weight,
    checked_names,
    fitting_methods,
    methods_named,
    offered_methods,
    register_method,
    register_selection,
    selection_named,
)
from eckart.methods.rounding import NarrowedLosses, Rounding, WidthLosses, factor_losses
from eckart.methods.selection import (
    Elimination,
    Ranking,
    Selection,
    largest_norm,
    lasso_path,
    removals,
)
from eckart.methods.spatial import Spatial, spatial_form
from eckart.methods.tables import Table
from eckart.methods.tucker2 import TuckerTwo, tucker2_form

register_method(LowRank("svd", plain_svd))
register_method(LowRank("activation_svd", activation_svd))
register_method(LowRank("weighted_svd", weighted_svd, foresee=weighted_losses))
register_method(LowRank("pivoted_svd", weighted_svd, pivoted=True, foresee=weighted_losses))
register_method(Spatial())
register_method(TuckerTwo())
register_method(Canonical(), only_for=("params", "bytes"))  # many small kernels run slower
register_selection(Elimination())
register_selection(Ranking("group_lasso", lasso_path))
register_selection(Ranking("largest_norm", largest_norm))

__all__ = [
    "DEFAULT_METHODS",
    "METHODS",
    "ONLY_FOR",
    "SELECTIONS",
    "TRANSFORMER_METHODS",
    "Built",
    "ByRank",
    "Cache",
    "Canonical",
    "Foreseeing",
    "Heirs",
    "LowRank",
    "Method",
    "NarrowedLosses",
    "Problem",
    "Ranking",
    "Reading",
    "Refined",
    "Refining",
    "Rounding",
    "Selection",
    "Spatial",
    "Table",
    "TuckerTwo",
    "Weight",
    "WidthLosses",
    "built",
    "can_have_codes",
    "canonical_form",
    "checked_names",
    "factor_losses",
    "fitting_methods",
    "heirs",
    "low_rank_form",
    "methods_named",
    "narrowed_problem",
    "noise_share",
    "offered_methods",
    "prepared_as",
    "problem_of",
    "reading_of",
    "register_method",
    "register_selection",
    "regular",
    "removals",
    "selection_named",
    "spatial_form",
    "title_of",
    "tucker2_form",
    "unit_moment",
    "weighing_of",
    "weighted_svd",
]
