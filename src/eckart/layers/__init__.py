"""One file per layer type, their registry, and the factored module."""

from eckart.layers.carrying import Carrying
from eckart.layers.conv2d import Conv2dType
from eckart.layers.factored import (
    Factored,
    blank,
    composed,
    factors_in,
    rebuild,
    refill,
    weights_of,
)
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
    OwnLayout,
    as_matrix,
    bias_of,
    oriented,
    piece_of,
    register_layer,
    type_of,
    weight_of,
)
from eckart.layers.transposed import TransposedType

register_layer(LinearType())
register_layer(Conv2dType())
register_layer(TransposedType())

__all__ = [
    "LAYER_TYPES",
    "Carrying",
    "Conv2dType",
    "Factored",
    "InputSums",
    "LayerType",
    "LinearType",
    "OwnLayout",
    "TransposedType",
    "as_matrix",
    "bias_of",
    "blank",
    "blank_norm",
    "composed",
    "factors_in",
    "filled",
    "narrowed",
    "narrowed_piece",
    "no_narrowing",
    "norm_width",
    "oriented",
    "piece_of",
    "rebuild",
    "refill",
    "register_layer",
    "type_of",
    "weight_of",
    "weights_of",
]
