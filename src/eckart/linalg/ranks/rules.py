"""How many components a spectrum has: seven rules, because the question has seven meanings.

All take singular values in descending order, as `torch.linalg.svdvals` returns them. Two rules say
how many are enough (`energy_rank`, `numerical_rank`). Two say how evenly the spectrum is spread
(`effective_rank`, `stable_rank`). Two say what stands out from white noise (`gavish_donoho_rank`,
and `variational_rank` in its own file). One says what is worth its price (`priced_rank`).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float64
from torch import Tensor

from eckart.errors import InputError
from eckart.linalg.admissible import admissible


def energy_rank(singular_values: Tensor, fraction: float = 0.99) -> int:
    """The smallest r with ``Σᵢ≤ᵣ σᵢ² ≥ fraction · Σᵢ σᵢ²``; 0 for a zero matrix; O(n).

    Source: Jolliffe 2002, Principal Component Analysis, section 6.1.1.

    Example:
        >>> energy_rank(torch.tensor([3.0, 1.0, 0.1]), 0.95)
        2
    """
    if not 0 < fraction <= 1:
        raise InputError(f"fraction={fraction}: expected above 0, at most 1")
    kept = spectrum(singular_values).square().cumsum(0)
    enough = fraction * kept[-1] * (1 - 1e-12)
    return int((kept < enough).sum()) + 1 if kept[-1] > 0 else 0


def numerical_rank(
    singular_values: Tensor, shape: tuple[int, int], tolerance: float | None = None
) -> int:
    """The number of ``σᵢ > tolerance · σ₁``; O(n).

    Args:
        singular_values: descending.
        shape: shape of the matrix.
        tolerance: relative; None means ``max(shape) · eps`` of the values' dtype.

    Source: Golub and Van Loan 2013, section 5.4.1; LINPACK and MATLAB have the same default.

    Example:
        >>> numerical_rank(torch.tensor([2.0, 1.0, 1e-9]), (3, 3))
        2
    """
    values = spectrum(singular_values)
    if tolerance is None:
        tolerance = max(shape) * torch.finfo(singular_values.dtype).eps
    if tolerance < 0:
        raise InputError(f"tolerance={tolerance}: expected 0 or more")
    return int((values > tolerance * values[0]).sum())


def effective_rank(singular_values: Tensor) -> float:
    """``exp(−Σ pᵢ log pᵢ)`` with ``pᵢ = σᵢ / Σσ``; 0 for a zero matrix; O(n).

    Source: Roy and Vetterli 2007, definition 1.

    Example:
        >>> round(effective_rank(torch.ones(5)), 6)
        5.0
    """
    values = spectrum(singular_values)
    if values[0] == 0:
        return 0.0
    shares = values / values.sum()
    return math.exp(float(torch.special.entr(shares).sum()))


def stable_rank(singular_values: Tensor) -> float:
    """``‖A‖_F² / ‖A‖₂²``; 0 for a zero matrix; O(n).

    Source: Rudelson and Vershynin 2007 (math/0503442).

    Example:
        >>> stable_rank(torch.tensor([2.0, 1.0]))
        1.25
    """
    values = spectrum(singular_values)
    return float((values / values[0]).square().sum()) if values[0] > 0 else 0.0


def gavish_donoho_rank(
    singular_values: Tensor, shape: tuple[int, int], noise: float | None = None
) -> int:
    """The number of values above the threshold that is optimal for a low rank plus white noise.

    The model is ``Y = X + noise · Z``, where ``Z`` has independent entries of variance 1, and
    β = m/n ≤ 1. The threshold is ``λ(β) √n noise``. It minimises the mean square error of the
    truncated matrix. If the noise is not known, it is estimated from the median singular value.

    Args:
        singular_values: all min(m, n) of them, descending.
        shape: shape of the matrix.
        noise: standard deviation of the noise of an entry; None to estimate it, which needs a rank
            below half of the values.

    Cost: O(n).

    Source: Gavish and Donoho 2014 (1305.5870), equations 11 and 5.

    Example:
        >>> gavish_donoho_rank(torch.tensor([50.0, 3.0, 2.0]), (3, 3), noise=1.0)
        1
    """
    values, (short, long) = full_spectrum(singular_values, shape), sorted(shape)
    beta = short / long
    if noise is None:
        cut = (
            _optimal(beta) / math.sqrt(marchenko_pastur_median(beta)) * float(values.quantile(0.5))
        )
    elif noise < 0:
        raise InputError(f"noise={noise}: expected a standard deviation, 0 or more")
    else:
        cut = _optimal(beta) * math.sqrt(long) * noise
    rounding = long * torch.finfo(singular_values.dtype).eps * float(values[0])
    return int((values > max(cut, rounding)).sum())


def priced_rank(singular_values: Tensor, prices: Tensor) -> int:
    """The rank r that minimises ``prices[r] + ½ Σᵢ>ᵣ σᵢ²``; the smallest in case of a tie.

    With prices ``λ C(r) / μ`` this is the compression step of learning-compression: among matrices
    Θ of any rank, W truncated to this rank minimises ``λ C(rank Θ) + μ/2 ‖W − Θ‖²_F``.

    Args:
        singular_values: all n of them, descending.
        prices: shape (n + 1,), for ranks 0 to n; infinity rules a rank out.

    Raises:
        InputError: prices of another shape, with NaN, or without a finite one.

    Cost: O(n).

    Source: Idelbayev and Carreira-Perpiñán 2020 (CVPR), the C step for a cost of the ranks.

    Example:
        >>> priced_rank(torch.tensor([3.0, 2.0, 1.0]), torch.tensor([0.0, 1.0, 2.0, 3.0]))
        2
    """
    values = spectrum(singular_values)
    prices = prices.detach().to(values)
    if prices.shape != (len(values) + 1,):
        raise InputError(f"prices has shape {tuple(prices.shape)}; expected ({len(values) + 1},)")
    if prices.isnan().any() or not prices.isfinite().any():
        raise InputError("prices must not hold NaN, and at least one must be finite")
    left = values.square().flip(0).cumsum(0).flip(0)
    return int((prices + 0.5 * torch.cat([left, left.new_zeros(1)])).argmin())


def marchenko_pastur_median(beta: float) -> float:
    """The median eigenvalue of ``Z Zᵀ / n`` with shape ratio β in (0, 1], by quadrature."""
    low, high = (1 - math.sqrt(beta)) ** 2, (1 + math.sqrt(beta)) ** 2
    angle = (torch.arange(200_000, dtype=torch.float64) + 0.5) * (math.pi / 200_000)
    points = (low + high) / 2 - (high - low) / 2 * angle.cos()  # ascending, dense at both ends
    mass = angle.sin().square() / points.clamp_min(1e-300)
    share = mass.cumsum(0) / mass.sum()
    return float(points[torch.searchsorted(share, 0.5)])


def _optimal(beta: float) -> float:
    """``λ(β)``, in units of ``√n noise``."""
    root = math.sqrt(beta**2 + 14 * beta + 1)
    return math.sqrt(2 * (beta + 1) + 8 * beta / (beta + 1 + root))


def spectrum(singular_values: Tensor) -> Float64[Tensor, " n"]:
    """Check that the values are a spectrum and return them in float64.

    Raises:
        InputError: they are not a vector, or are empty, negative, not descending, complex, integer
            or on ``meta``.
        NonFiniteError: they hold NaN or infinity.
    """
    values = admissible(singular_values, "singular_values").double()
    if values.ndim != 1:
        raise InputError(f"singular_values has shape {tuple(values.shape)}; expected a vector")
    if values[-1] < 0 or (values.diff() > 0).any():
        raise InputError("singular_values must be descending and not negative; sort them")
    return values


def full_spectrum(singular_values: Tensor, shape: tuple[int, int]) -> Float64[Tensor, " n"]:
    """Do the same, and check that no value is missing."""
    values = spectrum(singular_values)
    if len(values) != min(shape):
        got = f"singular_values has {len(values)} entries"
        raise InputError(f"{got}; a matrix of shape {tuple(shape)} has {min(shape)}")
    return values
