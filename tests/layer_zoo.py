"""Layers of every registered type that the contracts are tried on."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from eckart.layers import FewBits, as_matrix, type_of
from eckart.methods import Problem
from eckart.records import Form, LayerSpec, Piece
from random_moments import normal, second_moment


def _transposed() -> nn.Module:
    return pytest.importorskip("transformers.pytorch_utils").Conv1D(4, 7)


_LAYERS = {
    "wide": lambda: nn.Linear(7, 4),
    "tall": lambda: nn.Linear(4, 7, bias=False),
    "one-output": lambda: nn.Linear(5, 1),
    "one-input": lambda: nn.Linear(1, 5),
    "transposed": _transposed,
    "table": lambda: nn.Embedding(9, 5),
    "3x3": lambda: nn.Conv2d(3, 5, 3, padding=1),
    "3x3-valid": lambda: nn.Conv2d(4, 2, 3, bias=False),
    "strided": lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1),
    "strides-differ": lambda: nn.Conv2d(2, 4, (3, 2), stride=(1, 2), padding=(2, 1)),
    "dilated": lambda: nn.Conv2d(3, 3, 3, dilation=2, padding=2),
    "same": lambda: nn.Conv2d(2, 3, (5, 3), padding="same"),
    "grouped": lambda: nn.Conv2d(4, 6, 3, groups=2, padding=1),
    "grouped-1x1": lambda: nn.Conv2d(4, 16, 1, groups=4),
    "depthwise": lambda: nn.Conv2d(4, 4, 3, groups=4, padding=1, bias=False),
    "1x1": lambda: nn.Conv2d(6, 4, 1),
    "1x1-strided": lambda: nn.Conv2d(4, 6, 1, stride=2, bias=False),
    "1xk": lambda: nn.Conv2d(3, 4, (1, 3), padding=(0, 1)),
    "circular": lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"),
    "reflect": lambda: nn.Conv2d(2, 3, 3, padding=(1, 2), stride=2, padding_mode="reflect"),
    "same-even": lambda: nn.Conv2d(2, 3, (4, 3), padding="same", dilation=(1, 2)),
    "same-even-circular": lambda: nn.Conv1d(2, 3, 4, padding="same", padding_mode="circular"),
    "1d": lambda: nn.Conv1d(4, 5, 3, stride=2, padding=1),
    "1d-grouped": lambda: nn.Conv1d(4, 6, 5, groups=2, dilation=2, padding=3),
    "1d-depthwise": lambda: nn.Conv1d(4, 4, 3, groups=4, padding=1),
    "3d": lambda: nn.Conv3d(3, 4, (3, 2, 3), stride=(1, 2, 1), padding=1),
    "3d-grouped": lambda: nn.Conv3d(4, 2, 2, groups=2, padding=1, padding_mode="replicate"),
    "3d-flat": lambda: nn.Conv3d(2, 3, (1, 3, 3), padding=(0, 1, 1), bias=False),
    "turned": lambda: nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, output_padding=1),
    "turned-grouped": lambda: nn.ConvTranspose2d(4, 6, (4, 2), stride=2, groups=2, bias=False),
    "turned-depthwise": lambda: nn.ConvTranspose2d(4, 4, 4, stride=2, padding=1, groups=4),
    "turned-1x1": lambda: nn.ConvTranspose2d(5, 4, 1),
    "turned-1d": lambda: nn.ConvTranspose1d(6, 4, 5, stride=3, padding=1, output_padding=2),
    "turned-3d": lambda: nn.ConvTranspose3d(
        3, 2, (2, 3, 2), stride=(2, 1, 1), padding=(0, 1, 0), dilation=(1, 2, 1)
    ),
    "replicate": lambda: nn.Conv2d(2, 4, 3, padding=2, groups=2, padding_mode="replicate"),
}
EVEN_WARNING = "Using padding='same' with even kernel lengths"  # torch's own, once per process
LAYERS = list(_LAYERS)
_SIZES: dict[int, tuple[int, ...]] = {0: (), 1: (11,), 2: (7, 6), 3: (4, 6, 5)}


def layer(name: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    """The named layer with weights of its own, the same in every call."""
    made = _LAYERS[name]().to(dtype)
    for seed, parameter in enumerate(made.parameters()):
        parameter.data = normal(*parameter.shape, seed=seed).to(dtype)
    return made


def inputs(module: nn.Module, seed: int = 0, n: int = 2) -> Tensor:
    """A batch that the layer takes."""
    piece, dtype = piece_of_layer(module), next(module.parameters()).dtype
    if piece.table:
        return normal(n, 3, seed=seed + 77).argsort(1) * 2  # some rows are never looked up
    maps = (n, piece.inputs, *_SIZES[len(piece.kernel)])
    shape = maps if piece.kernel else (n, 3, piece.inputs)
    return normal(*shape, seed=seed + 77).to(dtype)


def piece_of_layer(module: nn.Module) -> Piece:
    kind = type_of(module)
    assert kind is not None
    return kind.piece(module)


def spec_of(module: nn.Module, x: Tensor) -> LayerSpec:
    """The layer as a calibration on one example of ``x`` would record it."""
    kind = type_of(module)
    assert kind is not None
    form = Form((kind.piece(module),))
    itemsize = next(module.parameters()).element_size()
    return LayerSpec(
        name="layer",
        type=kind.name,
        dense=form,
        sizes=(kind.size(module, x[:1]),),
        itemsize=itemsize,
        input="layer",
    )


def real_cost(name: str, module: nn.Module, example: Tensor) -> int | None:
    """The cost read off a real module, for the costs that can be."""
    if name == "macs":
        with FlopCounterMode(display=False) as counter:
            module(example)
        return counter.get_total_flops() // 2
    parameters = list(module.parameters())
    coded = [part for part in module.modules() if isinstance(part, FewBits)]
    if name == "params":
        return sum(t.numel() for t in [*parameters, *(part.weight for part in coded)])
    return sum(t.nbytes for t in module.state_dict().values()) if name == "bytes" else None


def problem_of_layer(module: nn.Module, seed: int = 0) -> Problem:
    """The layer's problem under random damped moments."""
    piece = piece_of_layer(module)
    groups, out, patch = piece.matrix_shape
    weight = as_matrix(module).double()
    a = second_moment(groups, patch, seed=seed + 1, rank=max(1, patch - 1))
    return Problem(piece, weight, a, second_moment(groups, out, seed=seed + 2))
