"""One file per layer type, their registry, and the factored module."""

from eckart.layers.activations import Activations, Levels
from eckart.layers.carrying import Carrying
from eckart.layers.conv import ConvType
from eckart.layers.conv_transpose import ConvTransposeType
from eckart.layers.decoding import decoded
from eckart.layers.embedding import EmbeddingType, looked_up
from eckart.layers.factored import (
    Factored,
    blank,
    composed,
    factors_in,
    merged_piece,
    rebuild,
    refill,
    weights_of,
)
from eckart.layers.few_bits import FewBits
from eckart.layers.linear import LinearType
from eckart.layers.narrow import (
    blank_norm,
    channels_normalised_together,
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
    alone,
    as_matrix,
    bias_of,
    exchanged,
    matrix_of,
    oriented,
    piece_of,
    register_layer,
    type_of,
    weight_from,
    weight_of,
)
from eckart.layers.transposed import TransposedType

register_layer(LinearType())
for _axes in (1, 2, 3):
    register_layer(ConvType(_axes))
    register_layer(ConvTransposeType(_axes))
register_layer(TransposedType())
register_layer(EmbeddingType())

__all__ = [
    "LAYER_TYPES",
    "Activations",
    "Carrying",
    "ConvTransposeType",
    "ConvType",
    "EmbeddingType",
    "Factored",
    "FewBits",
    "InputSums",
    "LayerType",
    "Levels",
    "LinearType",
    "OwnLayout",
    "TransposedType",
    "alone",
    "as_matrix",
    "bias_of",
    "blank",
    "blank_norm",
    "channels_normalised_together",
    "composed",
    "decoded",
    "exchanged",
    "factors_in",
    "filled",
    "looked_up",
    "matrix_of",
    "merged_piece",
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
    "weight_from",
    "weight_of",
    "weights_of",
]
