"""Learn the rank of every layer while the network trains: learning-compression."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import inf, sqrt
from typing import Any, final

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from eckart.costs import Cost, cost_named
from eckart.errors import InputError, NotConvergedWarning
from eckart.factors.candidates import candidates, full_rank, listed
from eckart.factors.fixed_ranks import Start, factored
from eckart.layers import matrix_of, piece_of, weight_of
from eckart.layers.registry import known_type_of
from eckart.linalg import priced_rank, truncated_svd
from eckart.linalg.admissible import WORKING, admissible
from eckart.methods import low_rank_form
from eckart.network.costs import trace_sizes
from eckart.network.plan_attribute import attach_plan
from eckart.network.wrappers import unwrapped
from eckart.records import Form, LayerSpec
from eckart.records.pieces import Size
from eckart.running.batches import first_examples

_NEAR = 0.05  # relative distance above which `finish` warns that the factors change the network
_STORED = ("params", "bytes")  # costs that need no forward pass


@final
class LearnedRanks:
    """Train the weights together with the rank of every layer.

    With the user's loss L, this minimises ``L(W) + price · Σ cost(rank Wₖ)`` over all weights W and
    their ranks, by a quadratic penalty whose strength μ grows. Two steps alternate:

    - *learning*, in the user's own loop: minimise ``L(W) + μ/2 Σ ‖Wₖ − Θₖ‖²_F``. The second term is
      ``penalty()``.
    - *compression*, now and then: ``project()`` finds the ranks and the Θₖ that minimise
      ``price · cost(rank Θₖ) + μ/2 ‖Wₖ − Θₖ‖²_F``. One decomposition per layer gives the exact
      minimum.

    If no rank of a layer is worth its price, the layer stays dense and has no penalty. At first μ
    is small and few components are worth keeping. As μ grows, the components that the loss needs
    come back, and the weights approach their Θ. ``finish()`` makes the factors.

    A component is kept if ``σ² > 2 price · (cost of one rank) / μ``. The penalty does not shrink
    components that are kept. So start with a μ for which that bound is above the singular values
    that the initial weights have by chance, ``s (√in + √out)`` for entries of standard deviation s.
    The gradient of the penalty is ``μ (W − Θ)``: with plain gradient descent, keep μ times the step
    size below 1.

    Args:
        model: trained or not; the user's loop trains it, and it is never changed here.
        price: price of one unit of cost, in units of the loss. For a loss in nats and a cost in
            parameters, 1e-7 says that 100,000 parameters are worth a hundredth of a nat.
        cost: the priced cost: ``"params"``, ``"macs"``, ``"bytes"``, or one of your own.
        strength: the first μ, in units of the loss per unit of squared weight.
        growth: factor by which every ``project()`` multiplies μ, at least 1.
        layers: names or patterns of the layers whose ranks are learned; None means all.
        dense: names or patterns of layers to leave dense.
        example_inputs: a batch of inputs, for costs that depend on their size.

    Attributes:
        strength: the current μ.
        ranks: rank of every layer to be factored, from the last projection.

    Raises:
        InputError: a number out of range, an unknown cost, or no layer whose rank can be learned.

    Cost: ``penalty`` takes one pass over the weights; ``project`` takes
        O(out · in · min(out, in)) per layer.

    Source: Idelbayev and Carreira-Perpiñán 2020, "Low-rank compression of neural nets: learning the
        rank of each layer" (CVPR), with a quadratic penalty.

    Example:
        >>> import torch, eckart
        >>> network = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Linear(30, 4))
        >>> x, y = torch.randn(64, 20), torch.randn(64, 4)
        >>> learned = eckart.factors.LearnedRanks(network, price=1e-3, strength=0.1, growth=1.5)
        >>> optimiser = torch.optim.SGD(network.parameters(), 0.05)
        >>> for step in range(200):
        ...     optimiser.zero_grad()
        ...     loss = torch.nn.functional.mse_loss(network(x), y) + learned.penalty()
        ...     loss.backward()
        ...     optimiser.step()
        ...     if step % 20 == 19:
        ...         ranks = learned.project()
        >>> smaller = learned.finish()
        >>> smaller.eckart_plan.costs["params"] < smaller.eckart_plan.totals["params"]
        True
    """

    def __init__(
        self,
        model: nn.Module,
        price: float,
        *,
        cost: str = "params",
        strength: float = 1e-3,
        growth: float = 1.5,
        layers: Iterable[str] | None = None,
        dense: Iterable[str] = (),
        example_inputs: Any = None,
    ) -> None:
        if not (price > 0 and strength > 0 and growth >= 1):
            raise InputError(
                f"price={price}, strength={strength}, growth={growth}: expected price and strength "
                "above 0, and growth of 1 or more"
            )
        model = unwrapped(model)
        self.model, self.strength, self.growth = model, float(strength), float(growth)
        self._example = None if example_inputs is None else first_examples(example_inputs)
        found, self._dense = candidates(model, layers, dense)
        if not found:
            raise InputError(f"no layer has a rank to learn: {listed(self._dense)}")
        of, sizes = cost_named(cost), _sizes(model, cost, self._example)
        self._priced = {
            name: _Priced.of(name, layer, of, float(price), sizes.get(name, ()))
            for name, layer in found.items()
        }
        self._targets = self._projected()

    @property
    def ranks(self) -> dict[str, int]:
        """The rank of every layer to be factored, from the last projection."""
        return {name: target.rank for name, target in self._targets.items()}

    @property
    def distance(self) -> float:
        """``√(Σ‖Wₖ − Θₖ‖² / Σ‖Wₖ‖²)``, the relative distance of the weights from their ranks."""
        apart, whole = (
            sum(float(part.detach().double().square().sum()) for part in parts)
            for parts in (self._gaps(), (layer.matrix for layer in self._priced.values()))
        )
        return sqrt(apart / whole) if whole else 0.0

    def penalty(self) -> Float[Tensor, ""]:
        """``μ/2 Σ ‖Wₖ − Θₖ‖²_F``; add it to the loss in every step."""
        terms = (gap.to(WORKING[gap.dtype]).square().sum() for gap in self._gaps())
        return self.strength / 2 * sum(terms, torch.zeros(()))

    def project(self) -> dict[str, int]:
        """Increase μ, then choose the ranks and Θ again for the current weights.

        Returns:
            The new ``ranks``.

        Raises:
            NonFiniteError: a weight holds NaN or infinity, because the training has diverged.
        """
        self.strength *= self.growth
        self._targets = self._projected()
        return self.ranks

    def finish(self) -> nn.Module:
        """Choose every Θ once more, and return a copy of the network with their factors.

        Returns:
            The network as ``factorize`` returns it; it can be trained further.

        Raises:
            InputError: no rank is worth its price.

        Warns:
            NotConvergedWarning: the weights are so far from their ranks that the factors change
                the network.
        """
        self._targets = self._projected()
        if not self.ranks:
            raise InputError("no rank is worth its price, so every layer stays dense: raise price=")
        if self.distance > _NEAR:
            warnings.warn(
                f"stopped with the weights {self.distance:.1%} away from their ranks: project "
                "more often, raise growth=, or train the factors further",
                NotConvergedWarning,
                stacklevel=2,
            )
        smaller, plan = factored(self.model, self.ranks, Start(), example_inputs=self._example)
        worthless = [name for name in self._priced if name not in self.ranks]
        reasons = {**self._dense, **dict.fromkeys(worthless, "no rank is worth its price")}
        return attach_plan(smaller, replace(plan, dense={**plan.dense, **reasons}))

    def _projected(self) -> dict[str, _Target]:
        """The ranks and Θ of the layers that are worth factoring at this μ."""
        targets = {name: layer.target(name, self.strength) for name, layer in self._priced.items()}
        return {name: target for name, target in targets.items() if target is not None}

    def _gaps(self) -> Iterator[Tensor]:
        for name, target in self._targets.items():
            yield self._priced[name].matrix - target.matrix


@dataclass(frozen=True)
class _Target:
    """A rank, and the nearest matrix that has it."""

    rank: int
    matrix: Float[Tensor, "groups out in"]


@dataclass(frozen=True)
class _Priced:
    """A layer, with the price of each rank from zero to full; full rank means dense."""

    layer: nn.Module
    prices: Float64[Tensor, " ranks"]

    @classmethod
    def of(
        cls, name: str, layer: nn.Module, cost: Cost, price: float, sizes: tuple[Size, ...]
    ) -> _Priced:
        """Compute the prices of the ranks of one layer with inputs of these sizes."""
        piece, kind = piece_of(layer), known_type_of(layer)
        dense = Form((piece,))
        spec = LayerSpec(
            name=name,
            type=kind.name,
            dense=dense,
            sizes=sizes,
            itemsize=weight_of(layer).element_size(),
            input=name,
        )
        ranks = range(1, full_rank(piece))
        costs = [cost.of(spec, low_rank_form(piece, rank)) for rank in ranks]
        whole = [inf, *costs, cost.of(spec, dense)]
        return cls(layer, price * torch.tensor(whole, dtype=torch.float64))

    @property
    def matrix(self) -> Float[Tensor, "groups out in"]:
        """The current weight as a matrix; gradients flow to it."""
        return matrix_of(weight_of(self.layer), piece_of(self.layer))

    @torch.no_grad()
    def target(self, name: str, strength: float) -> _Target | None:
        """The best rank for the current weight; None if the layer should stay dense."""
        weight = admissible(self.matrix, f"layer {name!r}: its weight").double()
        nested = truncated_svd(weight)
        values = (nested.left.norm(dim=1) * nested.right.norm(dim=2)).square().sum(0).sqrt()
        values = values.sort(descending=True).values  # rounding may swap the smallest ones
        rank = priced_rank(values, self.prices / strength)
        if rank == len(values):
            return None
        matrix = nested.left[..., :rank] @ nested.right[:, :rank]
        return _Target(rank, matrix.to(self.matrix.dtype))


def _sizes(model: nn.Module, cost: str, example: Any) -> dict[str, tuple[Size, ...]]:
    """The sizes of every layer's inputs, if the cost may depend on them."""
    if example is not None:
        return {name: tuple(calls) for name, calls in trace_sizes(model, example).items()}
    if cost in _STORED:
        return {}
    raise InputError(f"cost={cost!r} may depend on the size of the inputs: give example_inputs=")
