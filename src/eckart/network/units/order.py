"""In which order a network calls its matrices, and which of them stand in one module."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from eckart.layers import piece_of, type_of
from eckart.records import Piece
from eckart.running.batches import call, moved
from eckart.running.hooks import untouched


@dataclass(frozen=True)
class Matrix:
    """A layer that multiplies vectors with one matrix.

    Attributes:
        name: path in the network.
        inputs, outputs: widths.
    """

    name: str
    inputs: int
    outputs: int


@dataclass(frozen=True)
class Stretch:
    """A layer with those that the network calls before it in the smallest module that has others.

    Attributes:
        module: the name of that module.
        before: the layers before, in the order of their first calls.
        last: the layer.
    """

    module: str
    before: tuple[Matrix, ...]
    last: Matrix


def matrices(model: nn.Module) -> dict[str, Matrix]:
    """Every layer with one matrix, by name."""
    found = ((n, piece_of(m)) for n, m in model.named_modules() if type_of(m) is not None)
    return {n: Matrix(n, p.inputs, p.outputs) for n, p in found if _is_matrix(p)}


def stretches(model: nn.Module, inputs: Any) -> list[Stretch]:
    """One for every layer that others are called before, in the order of the calls.

    Cost: one forward pass.
    """
    order = _called(model, inputs)
    ends = ((order[:at], last) for at, last in enumerate(order))
    return [stretch for before, last in ends for stretch in _stretch(before, last, order)]


def _is_matrix(piece: Piece) -> bool:
    return not piece.kernel and piece.groups == 1 and not piece.table


def _called(model: nn.Module, inputs: Any) -> list[Matrix]:
    known, order = matrices(model), dict[str, Matrix]()
    with ExitStack() as stack, torch.no_grad():
        stack.enter_context(untouched(model))
        for name, matrix in known.items():
            note = lambda *_, n=name, m=matrix: order.setdefault(n, m) and None  # noqa: E731
            handle = model.get_submodule(name).register_forward_pre_hook(note)
            stack.callback(handle.remove)
        model.eval()
        call(model, moved(inputs, model))
    return list(order.values())


def _stretch(before: Sequence[Matrix], last: Matrix, order: Sequence[Matrix]) -> Iterator[Stretch]:
    module = last.name
    while module:
        module = module.rpartition(".")[0]
        inside = [m for m in order if m is not last and _is_in(m.name, module)]
        if inside:
            earlier = tuple(matrix for matrix in before if matrix in inside)
            if earlier:
                yield Stretch(module, earlier, last)
            return


def _is_in(name: str, module: str) -> bool:
    return not module or name.startswith(f"{module}.")
