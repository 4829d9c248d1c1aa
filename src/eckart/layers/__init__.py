"""One file per layer type, the registry of them, and the factored module."""

from eckart.layers.conv2d import Conv2dType
from eckart.layers.factored import Factored, blank, rebuild
from eckart.layers.linear import LinearType
from eckart.layers.registry import (
    LAYER_TYPES,
    InputSums,
    LayerType,
    as_matrix,
    piece_of,
    register_layer,
    type_of,
    weight_of,
)
from eckart.layers.selection import matching, survey

register_layer(LinearType())
register_layer(Conv2dType())

__all__ = [
    "LAYER_TYPES",
    "Conv2dType",
    "Factored",
    "InputSums",
    "LayerType",
    "LinearType",
    "as_matrix",
    "blank",
    "matching",
    "piece_of",
    "rebuild",
    "register_layer",
    "survey",
    "type_of",
    "weight_of",
]
