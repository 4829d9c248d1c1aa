"""The rank that empirical variational Bayes finds in a noisy matrix, by its global solution.

The model is ``Y = B Aᵀ + E`` with white noise ``E`` and Gaussian factors, whose prior variances are
estimated. All local minima of the free energy are known in closed form, so the estimate is a
threshold on the singular values. Only the noise variance needs a search on a line, if it is not
given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from eckart.errors import InputError
from eckart.linalg.ranks.rules import full_spectrum

_GRID = 200  # points of the search for the noise variance; its objective is not convex


@dataclass(frozen=True)
class VariationalRank:
    """The estimate of empirical variational Bayes for a spectrum.

    Attributes:
        rank: number of components that are kept.
        noise_variance: noise variance of an entry, given or estimated.
        singular_values: shrunk singular values, those of the posterior mean, shape (rank,).
    """

    rank: int
    noise_variance: float
    singular_values: Float64[Tensor, " rank"]


def variational_rank(
    singular_values: Tensor, shape: tuple[int, int], noise: float | None = None
) -> VariationalRank:
    """The global minimum of the empirical variational Bayes free energy.

    Let L ≤ M be the sides, α = L/M and ``x = σ²/(M s²)`` for noise variance s². A component is kept
    if ``x > (1 + τ̲)(1 + α/τ̲)``, where τ̲ solves ``Φ(τ) + Φ(τ/α) = 0`` with
    ``Φ(z) = log(1 + z)/z − ½``.

    Args:
        singular_values: all min(shape) of them, descending.
        shape: shape of the matrix.
        noise: standard deviation of the noise of an entry, or None to estimate it.

    Raises:
        InputError: the values are not the spectrum of such a matrix, or the noise is not above 0.
            NonFiniteError for NaN and infinity.

    Cost: O(n) for each of about 250 evaluations.

    Source: Nakajima, Sugiyama, Babacan and Tomioka 2013 (JMLR 14) for the global solution;
        Nakajima, Tomioka, Sugiyama and Babacan 2015 (JMLR 16) for the threshold and the bounds of
        the noise variance.

    Example:
        >>> values = torch.linalg.svdvals(torch.randn(40, 60, generator=torch.manual_seed(0)))
        >>> variational_rank(values, (40, 60)).rank
        0
    """
    values, (L, M) = full_spectrum(singular_values, shape), sorted(shape)
    if values[0] == 0:
        return VariationalRank(0, 0.0, values[:0])
    if noise is not None and not noise > 0:
        raise InputError(f"noise={noise}: expected a standard deviation above 0")
    unit = float(values[0])
    scaled = (values / unit).clamp_min(torch.finfo(singular_values.dtype).eps)
    variance = _noise_variance(scaled, L, M) if noise is None else (noise / unit) ** 2
    kept = scaled[scaled.square() > M * variance * _threshold(L / M)]
    rest = 1 - (L + M) * variance / kept.square()
    root = (rest.square() - 4 * L * M * variance**2 / kept.pow(4)).clamp_min(0).sqrt()
    return VariationalRank(len(kept), variance * unit**2, kept / 2 * (rest + root) * unit)


def _threshold(alpha: float) -> float:
    """``x̲``, above which a component is kept."""
    from scipy.optimize import brentq  # slow to import, and only needed here

    def balance(tau: float) -> float:
        return math.log1p(tau) / tau + math.log1p(tau / alpha) / (tau / alpha) - 1

    tau = float(brentq(balance, 1e-9, 10.0))
    return (1 + tau) * (1 + alpha / tau)


def _noise_variance(values: Tensor, L: int, M: int) -> float:
    """Minimise the free energy over the noise variance: a logarithmic grid, then Brent."""
    from scipy.optimize import minimize_scalar  # slow to import, and only needed here

    alpha, squares = L / M, values.square() / M
    threshold = _threshold(alpha)
    most = min(math.ceil(L / (1 + alpha)) - 1, L - 1)  # components that can be told from noise
    high = float(squares.sum()) / L
    low = max(float(squares[most]) / threshold, float(squares[most:].mean()))

    def energy(log_variance: float) -> float:
        return _free_energy(squares / math.exp(log_variance), alpha, threshold)

    if low >= high:
        return high
    steps = torch.linspace(math.log(low), math.log(high), _GRID, dtype=torch.float64).tolist()
    best = min(range(_GRID), key=lambda i: energy(steps[i]))
    bounds = (steps[max(best - 1, 0)], steps[min(best + 1, _GRID - 1)])
    found = float(minimize_scalar(energy, bounds=bounds, method="bounded").x)
    return math.exp(min(found, steps[best], key=energy))


def _free_energy(x: Tensor, alpha: float, threshold: float) -> float:
    """Twice the free energy divided by M, up to a constant."""
    kept, rest = x[x > threshold], x[x <= threshold]
    tau = kept - (1 + alpha)
    tau = (tau + (tau.square() - 4 * alpha).clamp_min(0).sqrt()) / 2
    gain = torch.log((tau + 1) / kept) + alpha * torch.log1p(tau / alpha) + kept - tau
    return float((rest - rest.log()).sum() + gain.sum())
