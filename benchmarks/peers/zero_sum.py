"""Zero-Sum SVD without its correction step."""

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from benchmarks.peers.calibration import Calibration, parameter_gradients
from benchmarks.peers.forms import compressible, dense_size, largest_rank, matrix, rank_size
from benchmarks.peers.low_rank import Spectrum, truncated, weighted_spectra
from benchmarks.peers.ranks import Ranks, allowance


def zero_sum_svd(model: nn.Module, calibration: Calibration, keep: float) -> nn.Module:
    """Drop weighted singular values over all layers so that the first-order loss stays balanced.

    A layer's candidate is its smallest remaining singular value. Among the candidates whose
    predicted change has the opposite sign of the running sum, the smallest in size is dropped.
    Source: Zero Sum SVD (2602.02848), two-heap selection.
    """
    spectra = weighted_spectra(model, calibration)
    gradients = parameter_gradients(model, calibration)
    changes = {
        name: loss_changes(matrix(layer), spectra[name], gradients[f"{name}.weight"])
        for name, layer in compressible(model).items()
    }
    return truncated(model, spectra, balanced_ranks(model, changes, allowance(model, keep)))


def loss_changes(
    weight: Float64[Tensor, "out in"], spectrum: Spectrum, gradient: Tensor
) -> Float64[Tensor, " k"]:
    """⟨∂L/∂W, −uᵢ uᵢᵀ W⟩ for every i: the predicted change of the loss if i is dropped.

    This equals −σᵢ uᵢᵀ (∂L/∂W) ṽᵢ of the paper, with ṽᵢ = L⁻ᵀ vᵢ and σᵢ ṽᵢᵀ = uᵢᵀ W.
    """
    pulled = gradient.flatten(1).double() @ weight.T
    return -torch.einsum("oi,op,pi->i", spectrum.left, pulled, spectrum.left)


def balanced_ranks(model: nn.Module, changes: dict[str, Tensor], allowed: float) -> Ranks:
    """Drop one singular value at a time until the budget is met; every layer keeps rank 1."""
    layers = compressible(model)
    left = {name: change.tolist() for name, change in changes.items() if largest_rank(layers[name])}
    used, total = sum(map(dense_size, layers.values())), 0.0
    while used > allowed:
        candidates = {name: rest[-1] for name, rest in left.items() if len(rest) > 1}
        wanted = {k: v for k, v in candidates.items() if (v >= 0) == (total <= 0)}
        pool = wanted or candidates
        name = min(pool, key=lambda k: abs(pool[k]))
        before = min(dense_size(layers[name]), len(left[name]) * rank_size(layers[name]))
        total += left[name].pop()
        used += min(dense_size(layers[name]), len(left[name]) * rank_size(layers[name])) - before
    ranks = {name: len(rest) for name, rest in left.items()}
    return {name: rank for name, rank in ranks.items() if rank <= largest_rank(layers[name])}
