"""One file per method, and the registry of them."""

from eckart.methods.low_rank import LowRank, activation_svd, low_rank_form, weighted_svd
from eckart.methods.low_rank import svd as plain_svd
from eckart.methods.problem import Problem, problem_of
from eckart.methods.registry import METHODS, Method, methods_named, register_method
from eckart.methods.spatial import Spatial, spatial_form

register_method(LowRank("svd", plain_svd))
register_method(LowRank("activation_svd", activation_svd))
register_method(LowRank("weighted_svd", weighted_svd))
register_method(Spatial())

DEFAULT_METHODS = ("weighted_svd", "spatial")

__all__ = [
    "DEFAULT_METHODS",
    "METHODS",
    "LowRank",
    "Method",
    "Problem",
    "Spatial",
    "low_rank_form",
    "methods_named",
    "problem_of",
    "register_method",
    "spatial_form",
]
