"""What a layer type must provide, and the table of the registered ones."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eckart.errors import InputError
from eckart.layers.naming import class_name
from eckart.records import Piece
from eckart.records.pieces import Size


@dataclass(frozen=True)
class InputSums:
    """What one batch adds to an input moment.

    Attributes:
        gram: ``sum x xᵀ`` over rows, float32 or better, shape (groups, in, in). Of a table:
            ``sum y yᵀ`` of the rows that are looked up, shape (1, out, out).
        total: ``sum x`` over rows, shape (groups, in). Of a table: how often each row is looked up.
        rows: number of rows.
    """

    gram: Float[Tensor, "groups in in"]
    total: Float[Tensor, "groups _in"]
    rows: int


@runtime_checkable
class LayerType(Protocol):
    """A kind of layer. Every method takes the module itself.

    It is matched by its class, and by subclasses that inherit what the class computes.
    """

    @property
    def name(self) -> str:
        """Name in the registry."""

    @property
    def module(self) -> type[nn.Module]:
        """The class."""

    def refusal(self, module: nn.Module) -> str | None:
        """Why this module cannot be compressed, or None."""

    def piece(self, module: nn.Module) -> Piece:
        """Its shapes."""

    def plain(self, piece: Piece, like: Tensor) -> nn.Module:
        """An uninitialised layer of these shapes, with the dtype and device of ``like``."""

    def size(self, module: nn.Module, x: Tensor) -> Size:
        """Positions of one example in the layer's input, (rows,) or (height, width)."""

    def geometry(self, module: nn.Module) -> Hashable:
        """Layers of equal geometry that read one tensor have one input moment."""

    def input_sums(self, module: nn.Module, x: Tensor) -> InputSums:
        """Sums over the rows of a batch of inputs."""

    def output_gram(self, module: nn.Module, grad: Tensor) -> Float[Tensor, "groups out out"]:
        """``sum g gᵀ`` over the rows of a batch of output gradients."""


@runtime_checkable
class OwnLayout(LayerType, Protocol):
    """A layer type whose modules store their weight in another layout than torch's layers.

    Its factors are torch layers, which ``plain`` makes; the two methods here convert both ways.
    """

    def oriented(self, weight: Tensor) -> Tensor:
        """A view of the weight in torch's layout, (out, in, …); of such a one, the way back."""

    def whole(self, piece: Piece, like: Tensor) -> nn.Module:
        """An uninitialised layer of the type's own class."""


_ACT = ("forward", "_conv_forward", "_output_padding", "__call__", "__getattr__")
"""What a module computes with its weight, or reads it by."""

LAYER_TYPES: dict[str, LayerType] = {}


def register_layer(kind: LayerType) -> None:
    """Register a layer type; a later one of the same name replaces it."""
    LAYER_TYPES[kind.name] = kind


def type_of(module: nn.Module) -> LayerType | None:
    """The layer type of a module: that of its class, or of the class whose forward it inherits.

    A subclass that computes something else, or whose weight is not a plain parameter, has none.
    """
    for kind in LAYER_TYPES.values():
        if type(module) is kind.module:
            return kind
    for kind in LAYER_TYPES.values():
        if isinstance(module, kind.module) and _acts_as(module, kind.module):
            return kind
    return None


def _acts_as(module: nn.Module, parent: type[nn.Module]) -> bool:
    """Whether a subclass changes nothing in how the weight acts."""
    inherited = (getattr(type(module), name, None) is getattr(parent, name, None) for name in _ACT)
    own = module._parameters
    plain = "weight" in own and own.keys() <= {"weight", "bias"} and not module._modules
    return all(inherited) and plain and "forward" not in vars(module)


def alone(module: nn.Module) -> nn.Module:
    """A plain layer with the weight of a module, without its bias, hooks and own attributes."""
    kind = known_type_of(module)
    piece, like = replace(kind.piece(module), bias=False), torch.empty(0, device="meta")
    made = kind.whole(piece, like) if isinstance(kind, OwnLayout) else kind.plain(piece, like)
    weight = module.weight
    if not isinstance(weight, Tensor):
        raise InputError(f"{class_name(module)} has no weight tensor")
    made.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if bias_of(made) is not None:  # a class that always has one
        made.register_parameter("bias", None)
    return made


def known_type_of(module: nn.Module) -> LayerType:
    """The layer type of a module.

    Raises:
        InputError: none is registered for its class.
    """
    kind = type_of(module)
    if kind is None:
        known = ", ".join(sorted(LAYER_TYPES))
        raise InputError(f"no layer type is registered for {class_name(module)}; known: {known}")
    return kind


def piece_of(module: nn.Module) -> Piece:
    """The shapes of a plain layer."""
    return known_type_of(module).piece(module)


def weight_of(module: nn.Module) -> Tensor:
    """The weight in torch's layout, (out, in, …): the tensor itself, or a view of it."""
    weight = module.weight
    if not isinstance(weight, Tensor):
        raise InputError(f"{class_name(module)} has no weight tensor")
    return oriented(module, weight)


def oriented(module: nn.Module, weight: Tensor) -> Tensor:
    """A view in torch's layout of a tensor that is in the layout of a module's weight."""
    kind = type_of(module)
    return kind.oriented(weight) if isinstance(kind, OwnLayout) else weight


def bias_of(module: nn.Module) -> Tensor | None:
    """The bias, if there is one."""
    bias = getattr(module, "bias", None)
    return bias if isinstance(bias, Tensor) else None


def as_matrix(module: nn.Module) -> Float[Tensor, "groups out in"]:
    """The weight as one matrix per group; a kernel's positions come after its channels."""
    return matrix_of(weight_of(module).detach(), piece_of(module))


def matrix_of(weight: Tensor, piece: Piece) -> Float[Tensor, "groups out in"]:
    """A piece's weight as one matrix per group; the inputs come first in some."""
    groups, rows, columns = piece.matrix_shape
    if piece.inputs_first:
        return weight.reshape(groups, columns, rows).mT
    return weight.reshape(groups, rows, columns)


def exchanged(weight: Tensor, piece: Piece) -> Tensor:
    """A piece's weight as (out, in, *kernel), or the way back; new unless that is its layout.

    Transposed pieces and tables keep the inputs first, and the outputs of one group second.
    """
    if not piece.inputs_first:
        return weight
    groups: Tensor = weight.unflatten(0, (piece.groups, -1))
    return groups.transpose(1, 2).flatten(0, 1)


def weight_from(matrix: Float[Tensor, "groups out in"], piece: Piece) -> Tensor:
    """The weight of a piece from its matrix: the inverse of ``matrix_of``."""
    return (matrix.mT if piece.inputs_first else matrix).reshape(piece.weight_shape)
