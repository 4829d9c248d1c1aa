"""The parameters or MACs that may stay, and the rank that each layer gets for them.

A rule returns the ranks of the layers to factor; a layer that is not named stays dense.
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from benchmarks.measuring.counts import count_params
from benchmarks.peers.forms import Layer, compressible, dense_size, largest_rank, rank_size

Ranks = dict[str, int]
STEPS = 60


def allowance(model: nn.Module, keep: float) -> float:
    """The weights that all compressible layers may have together to keep `keep` of all parameters.

    Raises:
        ValueError: rank 1 everywhere is still too much, or `keep` is not in (0, 1].
    """
    layers = compressible(model)
    total, dense = count_params(model), sum(map(dense_size, layers.values()))
    least = sum(rank_size(v) if largest_rank(v) else dense_size(v) for v in layers.values())
    check_reachable(keep, (total - dense + least) / total)
    return keep * total - (total - dense)


def check_reachable(keep: float, least: float) -> None:
    """Raise ValueError unless `least` <= `keep` <= 1."""
    if not least <= keep <= 1:
        raise ValueError(f"keep={keep}: expected between {least:.4f} (least reachable) and 1")


def largest_within(fits: Callable[[float], bool], low: float = 0.0, high: float = 1.0) -> float:
    """The largest number in [low, high] that fits, by bisection; `low` is assumed to fit."""
    if fits(high):
        return high
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def uniform(layers: Mapping[str, Layer], allowed: float) -> Ranks:
    """The same r(m + n)/mn in every layer, rounded down but at least rank 1."""

    def ranks(ratio: float) -> Ranks:
        if ratio == 1:
            return {}
        wanted = {k: max(1, int(ratio * dense_size(v) / rank_size(v))) for k, v in layers.items()}
        return {k: r for k, r in wanted.items() if r <= largest_rank(layers[k])}

    return ranks(largest_within(lambda ratio: size(layers, ranks(ratio)) <= allowed))


def size(layers: Mapping[str, Layer], ranks: Ranks) -> int:
    """The weights of all layers together at these ranks."""
    return sum(ranks[k] * rank_size(v) if k in ranks else dense_size(v) for k, v in layers.items())


def by_energy(
    layers: Mapping[str, Layer],
    energies: Mapping[str, Float64[Tensor, " k"]],
    allowed: float,
    positions: Mapping[str, int] | None = None,
) -> Ranks:
    """The least sum of relative lost energies Σ_{i>r} eᵢ / Σ eᵢ under one Lagrange multiplier.

    Args:
        energies: squared singular values of each layer, in descending order.
        allowed: budget, in weights, or in MACs if `positions` are given.
        positions: rows per example of each layer; one weight costs that many MACs.

    Source: BALF (2509.25136), rank allocation.
    """
    options = {
        name: _options(layer, energies[name], positions[name] if positions else 1)
        for name, layer in layers.items()
    }

    def choose(log_price: float) -> dict[str, int]:
        price = torch.tensor(log_price).double().exp()
        return {k: int((loss + price * cost).argmin()) for k, (cost, loss) in options.items()}

    def fits(log_price: float) -> bool:
        picked = choose(log_price)
        return sum(float(options[k][0][i]) for k, i in picked.items()) <= allowed

    cheapest = -largest_within(lambda negative: fits(-negative), low=-80.0, high=80.0)
    return {k: i + 1 for k, i in choose(cheapest).items() if i < largest_rank(layers[k])}


def _options(
    layer: Layer, energy: Float64[Tensor, " k"], positions: int
) -> tuple[Float64[Tensor, " r"], Float64[Tensor, " r"]]:
    """Cost and relative lost energy of ranks 1, 2, … and finally of staying dense."""
    ranks = largest_rank(layer)
    cost = torch.arange(1, ranks + 1) * rank_size(layer)
    tail = energy.flip(0).cumsum(0).flip(0)
    loss = tail[1 : ranks + 1] / tail[0].clamp_min(torch.finfo(tail.dtype).tiny)
    costs = torch.cat([cost, torch.tensor([dense_size(layer)])]).double() * positions
    return costs, torch.cat([loss, loss.new_zeros(1)])
