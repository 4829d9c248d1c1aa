"""Peers that truncate a singular value decomposition, plain or weighted.

Notation: W (m, n), A = E[x xᵀ] of the layer's inputs, U the leading left singular vectors.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from benchmarks.measuring.counts import count_macs
from benchmarks.peers.calibration import Calibration, gradient_squares, layer_inputs
from benchmarks.peers.forms import (
    compressible,
    dense_size,
    factored,
    largest_rank,
    matrix,
    rank_size,
    replaced,
)
from benchmarks.peers.ranks import Ranks, allowance, by_energy, check_reachable, uniform


@dataclass(frozen=True)
class Spectrum:
    """All ranks at once: rank r is left[:, :r] @ right[:r]; energies in descending order."""

    left: Float64[Tensor, "out k"]
    right: Float64[Tensor, "k in"]
    energy: Float64[Tensor, " k"]


def plain(weight: Float64[Tensor, "out in"]) -> Spectrum:
    """W = U Σ Vᵀ."""
    left, values, _ = torch.linalg.svd(weight, full_matrices=False)
    return Spectrum(left, left.T @ weight, values.square())


def weighted(weight: Float64[Tensor, "out in"], moment: Float64[Tensor, "in in"]) -> Spectrum:
    """The optimum for E‖Wx − W'x‖²: W' = U Uᵀ W with U the eigenvectors of W A Wᵀ.

    Equal to truncating W L and undoing L, for any A = L Lᵀ, but without an inverse.
    Source: SVD-LLM (2403.07378), section 3.1; BALF (2509.25136).
    """
    values, vectors = torch.linalg.eigh(weight @ moment @ weight.T)
    count = min(weight.shape)
    left = vectors.flip(1)[:, :count]
    return Spectrum(left, left.T @ weight, values.flip(0)[:count].clamp_min(0))


def plain_spectra(model: nn.Module) -> dict[str, Spectrum]:
    return {name: plain(matrix(layer)) for name, layer in compressible(model).items()}


def weighted_spectra(model: nn.Module, calibration: Calibration) -> dict[str, Spectrum]:
    inputs = layer_inputs(model, calibration)
    layers = compressible(model)
    return {name: weighted(matrix(layers[name]), found.moment) for name, found in inputs.items()}


def truncated(model: nn.Module, spectra: Mapping[str, Spectrum], ranks: Ranks) -> nn.Module:
    """A copy of the model with the named layers factored at their ranks."""
    layers = compressible(model)
    return replaced(
        model,
        {
            name: factored(layers[name], spectra[name].left[:, :r], spectra[name].right[:r])
            for name, r in ranks.items()
        },
    )


def svd_uniform(model: nn.Module, calibration: Calibration, keep: float) -> nn.Module:
    """Truncate W with the same fraction in every layer."""
    ranks = uniform(compressible(model), allowance(model, keep))
    return truncated(model, plain_spectra(model), ranks)


def svd_global(model: nn.Module, calibration: Calibration, keep: float) -> nn.Module:
    """Truncate W; ranks by relative energy under one multiplier."""
    spectra = plain_spectra(model)
    energies = {name: spectrum.energy for name, spectrum in spectra.items()}
    ranks = by_energy(compressible(model), energies, allowance(model, keep))
    return truncated(model, spectra, ranks)


def svd_llm(model: nn.Module, calibration: Calibration, keep: float) -> nn.Module:
    """Activation-weighted truncation, the same fraction in every layer. Source: 2403.07378."""
    spectra = weighted_spectra(model, calibration)
    ranks = uniform(compressible(model), allowance(model, keep))
    return truncated(model, spectra, ranks)


def balf_params(model: nn.Module, calibration: Calibration, keep: float) -> nn.Module:
    """Activation-weighted; ranks by relative energy under a budget of parameters (2509.25136)."""
    spectra = weighted_spectra(model, calibration)
    energies = {name: spectrum.energy for name, spectrum in spectra.items()}
    ranks = by_energy(compressible(model), energies, allowance(model, keep))
    return truncated(model, spectra, ranks)


def balf_macs(model: nn.Module, calibration: Calibration, keep: float) -> nn.Module:
    """Activation-weighted; ranks by relative energy under a budget of MACs (2509.25136)."""
    spectra, layers = weighted_spectra(model, calibration), compressible(model)
    positions = {k: v.positions for k, v in layer_inputs(model, calibration).items()}
    energies = {name: spectrum.energy for name, spectrum in spectra.items()}
    total = count_macs(model, calibration[0][:1])
    dense = sum(positions[k] * dense_size(v) for k, v in layers.items())
    least = sum(
        positions[k] * (rank_size(v) if largest_rank(v) else dense_size(v))
        for k, v in layers.items()
    )
    check_reachable(keep, (total - dense + least) / total)
    ranks = by_energy(layers, energies, keep * total - (total - dense), positions)
    return truncated(model, spectra, ranks)


def asvd(model: nn.Module, calibration: Calibration, keep: float) -> nn.Module:
    """Columns scaled by (mean |x|)^½, truncated, unscaled; uniform. Source: ASVD (2312.05821).

    A diagonal A with the squared scales gives the same matrix without dividing by them.
    """
    inputs, layers = layer_inputs(model, calibration), compressible(model)
    spectra = {k: weighted(matrix(v), inputs[k].mean_abs.diag()) for k, v in layers.items()}
    return truncated(model, spectra, uniform(layers, allowance(model, keep)))


def fwsvd(model: nn.Module, calibration: Calibration, keep: float) -> nn.Module:
    """Row i weighted by (Σⱼ (∂L/∂W_ij)²)^½, truncated, unweighted; uniform. Source: 2207.00112."""
    squares, layers = gradient_squares(model, calibration), compressible(model)
    spectra = {name: row_weighted(matrix(v), squares[name].sum(1)) for name, v in layers.items()}
    return truncated(model, spectra, uniform(layers, allowance(model, keep)))


def row_weighted(
    weight: Float64[Tensor, "out in"], importance: Float64[Tensor, " out"]
) -> Spectrum:
    """Truncation under row weights importance^½, floored at 1e-6 of the largest."""
    root = importance.sqrt()
    root = root.clamp_min(max(1e-6 * float(root.max()), torch.finfo(root.dtype).tiny))
    spectrum = plain(root[:, None] * weight)
    return Spectrum(spectrum.left / root[:, None], spectrum.right, spectrum.energy)
