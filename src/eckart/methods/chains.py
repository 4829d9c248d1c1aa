"""The weights of a form as factors of an einsum, which is how chains are rounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from torch import Tensor

from eckart.errors import InputError
from eckart.layers import matrix_of
from eckart.linalg.rounding import Rounded
from eckart.methods.adjoint import adjoint_form
from eckart.records import Form, Piece

T = TypeVar("T")
_LINKS, _AXES = "pqrstuvw", "xyk"  # between pieces, and along the axes of the kernel


@dataclass(frozen=True)
class FormChain:
    """How the pieces of a form multiply.

    Attributes:
        equation: as `round_chain` takes it, last piece first.
        shapes: of the factors in that order, with the groups as first axis.
        target: shape of the layer's weight.
        turned: whether it is that of the adjoint, whose last piece is the first one.
    """

    equation: str
    shapes: tuple[tuple[int, ...], ...]
    target: tuple[int, ...]
    turned: bool

    def factors(self, form: Form, weights: Sequence[Tensor]) -> list[Tensor]:
        """The weights of a form's pieces as factors in float64, in the order of the chain."""
        pairs = zip(self.ordered(weights), self.ordered(form.pieces), self.shapes, strict=True)
        return [self._matrix(weight, piece).reshape(shape) for weight, piece, shape in pairs]

    def codes(self, form: Form, factors: Sequence[Rounded]) -> tuple[Rounded, ...]:
        """The inverse for rounded factors: codes and scales in the shapes of the pieces."""
        pairs = zip(self.ordered(factors), form.pieces, strict=True)
        return tuple(_in_shape(found, piece) for found, piece in pairs)

    def ordered(self, found: Sequence[T]) -> Sequence[T]:
        """From the order of the pieces to that of the chain, or back."""
        return found if self.turned else found[::-1]

    def _matrix(self, weight: Tensor, piece: Piece) -> Tensor:
        matrix = matrix_of(weight, piece).double()
        return matrix.mT if self.turned else matrix


def can_have_codes(form: Form) -> bool:
    """Whether all pieces of a form can: all but those of a table that is factored."""
    return not any(piece.table for piece in form.pieces)


def chain_of_form(form: Form) -> FormChain:
    """The chain of a form.

    The kernel of a transposed piece belongs to its rows, which a chain does not know. If not all of
    the kernel is in the last piece, it is the chain of the adjoint, whose rows are columns.

    Raises:
        InputError: its pieces cannot have codes.
    """
    if not can_have_codes(form):
        raise InputError(f"the pieces of the form {form} cannot have codes")
    flat = _is_flat(form)
    turned = not flat and any(piece.transposed for piece in form.pieces)
    form = adjoint_form(form) if turned else form
    first, last = form.pieces[0], form.pieces[-1]
    working = [piece for piece in form.pieces if not piece.is_pointwise]
    terms, shapes = _terms(form, flat)
    columns = "i" if flat else "i" + _axes_of(form.pieces)
    groups, rows, _ = last.matrix_shape
    long = (max(piece.kernel[at] for piece in working) for at in _long(form.pieces))
    inputs = (first.matrix_shape[2],) if flat else (first.inputs // groups, *long)
    equation = f"{','.join(terms[::-1])}->o{columns}"
    return FormChain(equation, tuple(shapes[::-1]), (groups, rows, *inputs), turned)


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
            outer = form.pieces[0].groups
            shapes.append((outer, piece.outputs // outer, *kernel))
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
