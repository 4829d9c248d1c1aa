"""The weights of a form as factors of an einsum, which is how chains are rounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from eckart.errors import InputError
from eckart.layers import matrix_of
from eckart.linalg.rounding import Rounded
from eckart.records import Form, Piece

_LINKS, _AXES = "pqrstuvw", "xyk"  # between pieces, and along the axes of the kernel


@dataclass(frozen=True)
class FormChain:
    """How the pieces of a form multiply.

    Attributes:
        equation: as `round_chain` takes it, last piece first.
        shapes: of the factors in that order, with the groups as first axis.
        target: shape of the layer's weight.
    """

    equation: str
    shapes: tuple[tuple[int, ...], ...]
    target: tuple[int, ...]

    def factors(self, form: Form, weights: Sequence[Tensor]) -> list[Tensor]:
        """The weights of a form's pieces as factors in float64, last piece first."""
        pairs = zip(weights[::-1], form.pieces[::-1], self.shapes, strict=True)
        return [matrix_of(weight, piece).double().reshape(shape) for weight, piece, shape in pairs]

    def codes(self, form: Form, factors: Sequence[Rounded]) -> tuple[Rounded, ...]:
        """The inverse for rounded factors: codes and scales in the shapes of the pieces."""
        pairs = zip(factors[::-1], form.pieces, strict=True)
        return tuple(_in_shape(found, piece) for found, piece in pairs)


def can_have_codes(form: Form) -> bool:
    """Whether all pieces of a form can.

    A table keeps its numbers, and a piece that carries has rows without any. The rows of a
    transposed piece belong to its kernel, so it is only known as the last one after pieces without
    a kernel.
    """
    grouped = form.pieces[0].groups > 1 and any(p.is_depthwise for p in form.pieces[1:-1])
    turned = any(piece.transposed for piece in form.pieces)
    table = any(piece.table for piece in form.pieces)
    return not (form.carries or table or grouped or (turned and not _is_flat(form)))


def chain_of_form(form: Form) -> FormChain:
    """The chain of a form.

    Raises:
        InputError: its pieces cannot have codes.
    """
    if not can_have_codes(form):
        raise InputError(f"the pieces of the form {form} cannot have codes")
    first, last, flat = form.pieces[0], form.pieces[-1], _is_flat(form)
    working = [piece for piece in form.pieces if not piece.is_pointwise]
    terms, shapes = _terms(form, flat)
    columns = "i" if flat else "i" + _axes_of(form.pieces)
    groups, rows, _ = last.matrix_shape
    long = (max(piece.kernel[at] for piece in working) for at in _long(form.pieces))
    inputs = (first.matrix_shape[2],) if flat else (first.inputs // groups, *long)
    equation = f"{','.join(terms[::-1])}->o{columns}"
    return FormChain(equation, tuple(shapes[::-1]), (groups, rows, *inputs))


def _is_flat(form: Form) -> bool:
    """Whether all of the kernel is in the first piece, or in the last one if it is transposed."""
    working = [piece for piece in form.pieces if not piece.is_pointwise]
    end = form.pieces[-1] if form.pieces[-1].transposed else form.pieces[0]
    return working in ([], [end])


def _terms(form: Form, flat: bool) -> tuple[list[str], list[tuple[int, ...]]]:
    """The letters and the shape of each piece, from first to last."""
    terms, shapes, link = [], [], "i"
    for at, piece in enumerate(form.pieces):
        groups, rows, columns = piece.matrix_shape
        kernel = () if flat else tuple(k for k in piece.kernel if k > 1)
        letters = "" if flat else _axes_of([piece])
        if piece.is_depthwise and 0 < at < len(form.pieces) - 1:
            terms.append(link + letters)
            shapes.append((1, piece.outputs, *kernel))
            continue
        row = "o" if at == len(form.pieces) - 1 else _LINKS[at]
        terms.append(row + link + letters)
        inputs = columns if flat else piece.inputs // groups
        shapes.append((groups, rows, inputs, *kernel))
        link = row
    return terms, shapes


def _long(pieces: Sequence[Piece]) -> list[int]:
    """The axes on which some kernel is longer than one."""
    return [at for at, _ in enumerate(pieces[0].kernel) if any(p.kernel[at] > 1 for p in pieces)]


def _axes_of(pieces: Sequence[Piece]) -> str:
    return "".join(_AXES[at] for at in _long(pieces))


def _in_shape(found: Rounded, piece: Piece) -> Rounded:
    grid = replace(found.grid, scale=found.grid.scale.reshape(piece.scales))
    return replace(found, codes=found.codes.reshape(piece.matrix_shape), grid=grid)
