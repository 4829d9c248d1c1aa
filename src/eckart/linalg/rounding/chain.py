"""A chain of factors as an einsum, and what one factor of it sees of the others.

Later factors map a factor's outputs to those of the layer, and earlier ones map the layer's inputs
to its own. If all others are given, the loss of the chain is a quadratic form in the factor, with
the matrix ``Σ_ss' K_ss' ⊗ B_ss'``, where s are the positions that later factors take care of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from jaxtyping import Float64
from torch import Tensor

from eckart.errors import InputError
from eckart.linalg.admissible import admissible_problem, admissible_stack
from eckart.linalg.regression import least_squares
from eckart.linalg.rounding.triangles import triangle
from eckart.linalg.whitening import damped, quadratic_loss

_GROUP = "z"
_RIDGE = 1e-9  # with it, an input that is always zero gets no weight


@dataclass(frozen=True, eq=False)
class Chain:
    """The letters of a chain, and the problem that it solves.

    Attributes:
        terms: the letters of each factor, last factor first; a factor's first letter is its row.
        result: the letters of the weight: its row, then its inputs.
        target: the weight, shape (groups, out, *inputs).
        a: damped second moment of the inputs, (groups, *inputs, *inputs).
        g: damped second moment of the output gradients, (groups, out, out).
    """

    terms: tuple[str, ...]
    result: str
    target: Float64[Tensor, "groups out *inputs"]
    a: Float64[Tensor, "groups *inputs_twice"]
    g: Float64[Tensor, "groups out out"]

    def product(self, factors: Sequence[Tensor]) -> Float64[Tensor, "groups out *inputs"]:
        """The weight that factors multiply to."""
        return einsum(self.terms, self.result, factors)

    def loss(self, factors: Sequence[Tensor]) -> float:
        """``½ tr(G (W − Q) A (W − Q)ᵀ)`` of the factors' product Q."""
        lost = (self.target - self.product(factors)).flatten(2)
        return quadratic_loss(lost, _square(self.a), self.g)

    def positions(self, at: int) -> str:
        """The letters of inputs that later factors take care of."""
        later = "".join(self.terms[:at])
        return "".join(letter for letter in self.result[1:] if letter in later)

    def is_depthwise(self, at: int) -> bool:
        """Whether each row of a factor reads what one row before it gives."""
        return any(self.terms[at][0] in term for term in self.terms[at + 1 :])

    def moments(self, factors: Sequence[Tensor], at: int) -> tuple[Tensor, Tensor]:
        """The second moments of a factor's inputs and of its output gradients.

        If later factors take care of positions, they are the Kronecker product that has the same
        partial traces as the form. All rows of a depthwise factor count as one, which is exact.

        Returns:
            Shapes (groups, columns, columns) and (groups, rows, rows).
        """
        after, before = self._after(factors, at), self._before(factors, at)
        row, columns, s = self.terms[at][0], self.terms[at][1:], self.positions(at)
        if self.is_depthwise(at):
            both = _twice(row + columns)
            form = _square(einsum((_twice(row), both), both, (after, before)))
            return form, torch.ones_like(form[:, :1, :1])
        if not s:
            return _square(before), _square(after)
        rows = einsum((row + s + row + s.upper(),), _twice(s), (after,))
        inputs = einsum((columns + s + columns + s.upper(),), _twice(s), (before,))
        total = (rows * inputs).flatten(1).sum(1)[:, None, None]
        a = einsum((_twice(columns + s), _twice(s)), _twice(columns), (before, rows))
        g = einsum((_twice(row + s), _twice(s)), _twice(row), (after, inputs))
        return _square(a) / torch.where(total > 0, total, 1.0), _square(g)  # zeros stay zeros

    def solved(self, factors: Sequence[Tensor], at: int) -> Tensor:
        """The best factor if all others are given. Later factors must not have positions.

        The last factor is a least-squares fit under ``A``, and ``G`` drops out.
        """
        row, columns, out = self.terms[at][0], self.terms[at][1:], self.result[0]
        kept = row + columns if self.is_depthwise(at) else columns
        inputs = self.result[1:]
        terms = (out + inputs.upper(), _twice(inputs))
        seen = einsum(terms, out + inputs, (self.target, self.a))
        if at + 1 < len(factors):
            letters, mapped = self._inner(factors, at)
            seen = einsum((out + inputs, letters), out + kept, (seen, mapped))
        else:
            seen = einsum((out + inputs,), out + kept, (seen,))
        if at:
            later = einsum(self.terms[:at], out + row, factors[:at])
            weighted = einsum((_twice(out), out.upper() + kept), out + kept, (self.g, seen))
            seen = einsum((out + row, out + kept), row + columns, (later, weighted))
        a, g = self.moments(factors, at)
        flat = seen.reshape(len(a), -1, a.shape[-1])
        found = least_squares(flat, damped(a, _RIDGE))
        if at and not self.is_depthwise(at):
            found = least_squares(found.mT, damped(g, _RIDGE)).mT
        return found.reshape(factors[at].shape)

    def with_shared_scales(
        self, factors: Sequence[Tensor], at: int, *, turned: bool = False
    ) -> list[Tensor]:
        """The same product, with the columns of the next factor scaled to suit one grid.

        A row of the factor has a scale of its own, so multiplying it by ``1 / t`` costs nothing.
        In the next factor, column q then has variance ``D_q / t_q²`` and size ``t_q ℓ_q``. The
        rounding errors of a grid for all columns cost least at ``t_q² = √D_q / ℓ_q``. If it is
        ``turned``, columns have scales of their own, and the rows of the factor suit one grid.
        """
        found = list(factors)
        if not at or not self._share(at, turned):
            return found
        shared, free = (at, at - 1) if turned else (at - 1, at)
        row, letters = self.terms[at][0], self.terms[shared]
        moment = self.moments(found, shared)[turned]
        kept = found[shared].shape[1:2] if turned else found[shared].shape[2:]
        costs = triangle(moment).costs.reshape(len(moment), *kept)
        variance = einsum((row if turned else letters[1:],), row, (costs,))
        size = einsum((letters,), row, (found[shared].square(),)).sqrt()
        used = (variance > 0) & (size > 0)
        scale = torch.where(used, (variance.sqrt() / size).sqrt(), 1.0)
        found[shared] = einsum((letters, row), letters, (found[shared], scale))
        found[free] = einsum((self.terms[free], row), self.terms[free], (found[free], 1 / scale))
        return found

    def _share(self, at: int, turned: bool) -> bool:
        """Whether what a factor gives to the next one shares scales."""
        row = self.terms[at][0]
        return not self.is_depthwise(at) if turned else row in self.terms[at - 1][1:]

    def _after(self, factors: Sequence[Tensor], at: int) -> Tensor:
        """K, with letters (row, s) twice: what the outputs of a factor weigh."""
        if not at:
            return self.g
        out, kept = self.result[0], self.terms[at][0] + self.positions(at)
        later = einsum(self.terms[:at], out + kept, factors[:at])
        terms = (out + kept, _twice(out), (out + kept).upper())
        return einsum(terms, _twice(kept), (later, self.g, later))

    def _before(self, factors: Sequence[Tensor], at: int) -> Tensor:
        """B, with letters (columns, s) twice: the second moment of a factor's inputs."""
        row, columns, inputs = self.terms[at][0], self.terms[at][1:], self.result[1:]
        kept = (row if self.is_depthwise(at) else "") + columns + self.positions(at)
        if at + 1 == len(factors):
            return einsum((_twice(inputs),), _twice(kept), (self.a,))
        letters, mapped = self._inner(factors, at)
        terms = (letters, _twice(inputs), letters.upper())
        return einsum(terms, _twice(kept), (mapped, self.a, mapped))

    def _inner(self, factors: Sequence[Tensor], at: int) -> tuple[str, Tensor]:
        """The map of all earlier factors, with its letters: a factor's own and those of inputs."""
        earlier, own = set("".join(self.terms[at + 1 :])), self.terms[at] + self.result[1:]
        letters = "".join(letter for letter in dict.fromkeys(own) if letter in earlier)
        return letters, einsum(self.terms[at + 1 :], letters, factors[at + 1 :])


def chain_of(
    equation: str, factors: Sequence[Tensor], target: Tensor, a: Tensor, g: Tensor
) -> tuple[Chain, list[Tensor]]:
    """The chain and its factors in float64, if the equation and all shapes fit.

    Raises:
        InputError: they do not. NonFiniteError for NaN and infinity.
    """
    left, _, result = equation.partition("->")
    terms = tuple(left.split(","))
    found = [admissible_stack(factor, f"factor {at}") for at, factor in enumerate(factors)]
    target, a, g = admissible_problem(target, a, g)
    sizes = dict(zip(_GROUP + result, target.shape, strict=False))
    for term, factor in zip(terms, found, strict=False):
        for letter, size in zip(_GROUP + term, factor.shape, strict=False):
            sizes.setdefault(letter, size)
    shapes = [tuple(sizes.get(letter, 0) for letter in _GROUP + term) for term in (*terms, result)]
    got = [tuple(tensor.shape) for tensor in (*found, target)]
    if shapes != got or not equation.islower() or _GROUP in equation:
        raise InputError(f"{equation!r} does not fit factors and target of shapes {got}")
    axes = target.shape[2:]
    return Chain(terms, result, target, a.reshape(len(a), *axes, *axes), g), found


def einsum(terms: Sequence[str], result: str, factors: Sequence[Tensor]) -> Tensor:
    """``torch.einsum`` group by group."""
    left = ",".join(_GROUP + term for term in terms)
    found: Tensor = torch.einsum(f"{left}->{_GROUP}{result}", *factors)
    return found


def _twice(letters: str) -> str:
    return letters + letters.upper()


def _square(form: Tensor) -> Float64[Tensor, "groups n n"]:
    """A form over several letters, given twice, as one matrix per group."""
    size = prod(form.shape[1 : form.ndim // 2 + 1])
    return form.reshape(len(form), size, size)
