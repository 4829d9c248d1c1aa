"""One file per layer type, the registry of them, and the factored module."""

from eckart.layers.carrying import Carrying
from eckart.layers.conv2d import Conv2dType
from eckart.layers.factored import Factored, blank, composed, factors_in, rebuild
from eckart.layers.linear import LinearType
from eckart.layers.narrow import (
    blank_norm,
    filled,
    narrowed,
    narrowed_piece,
    no_narrowing,
    norm_width,
)
from eckart.layers.registry import (
    LAYER_TYPES,
    InputSums,
    LayerType,
    as_matrix,
    bias_of,
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
    "Carrying",
    "Conv2dType",
    "Factored",
    "InputSums",
    "LayerType",
    "LinearType",
    "as_matrix",
    "bias_of",
    "blank",
    "blank_norm",
    "composed",
    "factors_in",
    "filled",
    "matching",
    "narrowed",
    "narrowed_piece",
    "no_narrowing",
    "norm_width",
    "piece_of",
    "rebuild",
    "register_layer",
    "survey",
    "type_of",
    "weight_of",
]
