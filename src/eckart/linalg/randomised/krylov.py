"""A basis for the range of a matrix from a random block Krylov space, and the matrix in that basis.

The space of ``AΩ, (AAᵀ)AΩ, (AAᵀ)²AΩ, …`` is built block by block, and keeps every product with
``A`` and ``Aᵀ``. So 3.6 products per wanted component are as accurate as eight of subspace
iteration.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from eckart.linalg.randomised.orthonormal import cholesky_rows, orthonormal_beyond

_COARSE_ABOVE = 0.04  # share of ‖A‖ not yet captured; far above bfloat16's rounding (2⁻⁹ per entry)
_COARSE_FROM = 1 << 20  # least number of entries for which the copy pays

Enough = Callable[[Tensor, Tensor], bool]


def krylov_range(
    matrix: Float[Tensor, "m n"],
    size: int,
    block: int,
    *,
    generator: torch.Generator | None = None,
    enough: Enough | None = None,
) -> tuple[Float[Tensor, "k m"], Float[Tensor, "k n"]]:
    """Orthonormal rows ``Q`` and ``B = Q A``, so that ``A ≈ Qᵀ B``.

    If the processor multiplies bfloat16 natively, directions are found in bfloat16 as long as the
    part of the matrix not yet captured is far above its rounding. ``B`` is always computed in the
    matrix's dtype.

    Args:
        matrix: shape (m, n), float32 or float64, finite.
        size: dimension of the space; the result has fewer rows if the range is smaller.
        block: directions found at a time; the depth of the space is size / block.
        generator: random generator that draws the starting block.
        enough: called with Q and B after every block; True stops.

    Cost: O(m·n·size + (m + n)·size²).

    Source: Musco and Musco 2015 (1504.05477), algorithm 2; Halko, Martinsson and Tropp 2011
        (0909.4061), section 4.5 and remark 4.1; Yu, Gu and Li 2018 (1606.09402), theorem 1, for
        the residual ``‖A‖² − ‖B‖²``.
    """
    (m, n), size = matrix.shape, min(size, matrix.shape[0])
    basis, image = matrix.new_empty(size, m), matrix.new_empty(size, n)
    product = _Product(matrix)
    probe, fresh, found = _normal(matrix, min(block, size), generator), True, 0
    while found < size:
        rows = product(probe[: size - found])
        rows = orthonormal_beyond(basis[:found], rows)
        if not len(rows) and fresh:
            break  # even random directions add nothing new
        here = slice(found, found := found + len(rows))
        basis[here] = rows
        image[here] = rows @ matrix
        product.saw(image[here])
        if enough is not None and enough(basis[:found], image[:found]):
            break
        fresh = len(rows) < min(block, size)  # a smaller block is filled up at random
        probe = _next_probe(image[here], block if fresh else len(rows), generator)
    return basis[:found], image[:found]


class _Product:
    """``rows Aᵀ``, in bfloat16 while much of the matrix is not yet captured."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix
        self.coarse = matrix.bfloat16() if _bfloat16_pays(matrix) else None
        self.total = self.left = float(_square(matrix)) if self.coarse is not None else 0.0

    def __call__(self, rows: Tensor) -> Tensor:
        if self.coarse is not None and self.left > _COARSE_ABOVE**2 * self.total:
            return (rows.bfloat16() @ self.coarse.mT).to(self.matrix.dtype)
        return rows @ self.matrix.mT

    def saw(self, image: Tensor) -> None:
        """Subtract the energy of new rows of B from what is left."""
        if self.coarse is not None:
            self.left -= float(_square(image))


def _square(values: Tensor) -> Tensor:
    """The squared Frobenius norm, in float64, without a copy in float64."""
    norms = torch.linalg.vector_norm(values, dim=1)
    total: Tensor = norms.double().square().sum()
    return total


def _next_probe(image: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """The rows of B, conditioned for the next product, with random rows up to the count."""
    probe = cholesky_rows(image) if len(image) else image
    if probe is None:
        probe = image / image.norm(dim=1, keepdim=True).clamp_min(torch.finfo(image.dtype).tiny)
    fresh = _normal(image, count - len(image), generator) if count > len(image) else image[:0]
    return torch.cat([probe, fresh])


def _normal(like: Tensor, rows: int, generator: torch.Generator | None) -> Tensor:
    size = (rows, like.shape[1])
    return torch.randn(size, dtype=like.dtype, device=like.device, generator=generator)


def _bfloat16_pays(matrix: Tensor) -> bool:
    """Whether this is a large float32 matrix on a processor with bfloat16 products."""
    if matrix.dtype != torch.float32 or matrix.numel() < _COARSE_FROM:
        return False
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return matrix.device.type == "cpu" and native is not None and bool(native())
