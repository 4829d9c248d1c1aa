"""Replace layers by trainable factors of given ranks, before or after training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from eckart.errors import InputError
from eckart.factors.candidates import Layers, Ranks, Reasons, candidates, listed, ranked
from eckart.layers import Factored, as_matrix, piece_of, rebuild, weight_from
from eckart.linalg import random_factors, truncated_svd
from eckart.methods import low_rank_form, problem_of, weighted_svd
from eckart.moments import Moments
from eckart.network.costs import network_costs, stored_costs
from eckart.network.identity import check_same_network, fingerprint
from eckart.network.opening import Opening
from eckart.network.plan_attribute import attach_plan
from eckart.network.replacing import installed
from eckart.network.twins import notes, opened
from eckart.network.wrappers import network_in, unwrapped
from eckart.records import Choice, Plan
from eckart.records.offer import DAMPING
from eckart.records.plans import predicted
from eckart.running.batches import first_examples

METHODS = {"svd": "svd", "weighted": "weighted_svd", "random": "random"}
"""The name of each start in a plan; with a core, ``+core`` follows."""


def factorize(
    model: nn.Module,
    rank: Ranks,
    *,
    init: str = "svd",
    core: bool = False,
    moments: Moments | None = None,
    layers: Iterable[str] | None = None,
    dense: Iterable[str] = (),
    example_inputs: Any = None,
    generator: torch.Generator | None = None,
    inplace: bool = False,
) -> nn.Module:
    """Replace layers by trainable factors ``W ≈ U · V`` or ``U · core · V``.

    - ``"svd"`` minimises ``½ ‖W − M‖²_F`` over rank r. Before training, this is spectral
      initialisation.
    - ``"weighted"`` minimises ``½ tr(G (W − M) A (W − M)ᵀ)``, as ``compress`` does.
    - ``"random"`` starts from scratch: Gaussian factors whose product has the variance of the
      layer's own weight, so signals and gradients keep the size that its initialisation gave them.
      The few directions of the product are strong, so it may need smaller steps than ``"svd"``.

    Without a core, the scale of each component is split evenly between its factors. With a core, U
    has unit columns, V has unit rows, and the core starts as a diagonal matrix. A convolution
    becomes its kernel to r channels, [r to r by 1×1,] then 1×1. ``merge`` multiplies the factors
    out again, and ``save`` and ``load`` work as for any other network. The parameters are new, so
    create the optimiser afterwards.

    Args:
        model: the network, trained or not; it is not changed. Wrappers by ``torch.compile`` and
            ``DataParallel`` are left out.
        rank: width between the factors, per group of a grouped convolution: an integer, or a float
            as a fraction of the full rank ``min(out, in)``. It may also be a mapping from layer
            names or shell patterns to ranks, in which a later entry overrides an earlier one. A
            layer that becomes larger stays dense, unless it is listed by its own name.
        init: how the factors start, one of the three above.
        core: whether to put a square matrix between them.
        moments: those of ``calibrate``, for ``init="weighted"`` only.
        layers: names or patterns of the layers to consider; None means all.
        dense: names or patterns of layers to leave dense.
        example_inputs: a batch of inputs. The network is then run on its first example: layers that
            fail are left dense, and multiply-adds are counted. None means that of the moments.
        generator: random generator for ``"random"``; None means torch's own.
        inplace: change ``model`` itself, or the network inside the wrappers, instead of a copy.

    Returns:
        The network with ``Factored`` modules, in the mode, dtype and device of the dense one;
        parameters are trainable if the dense ones were. Its ``eckart_plan`` holds the form of each
        factored layer, the loss from above, and the reason for each layer that stays dense.

    Raises:
        InputError: a rank is not possible, a layer that is listed by its own name cannot have its
            rank, or no layer would be factored; the message gives the reasons.
        NonFiniteError: a weight holds NaN or infinity.
        MismatchError: the moments belong to another network.

    Cost: one decomposition per layer, O(out · in · min(out, in)); none for ``"random"``.

    Source: Khodak et al. 2021 (2105.01029), section 3.1, for factors from the decomposition of an
        untrained network; see ``random_factors`` for the random ones.

    Example:
        >>> import torch, eckart
        >>> network = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Linear(30, 4))
        >>> smaller = eckart.factorize(network, rank=2, core=True)
        >>> print(smaller.eckart_plan)
        2 layers factored, 0 dense; predicted loss ...; keeps 0.279 of params, 0.279 of bytes
        >>> eckart.merge(smaller)[0].weight.shape
        torch.Size([30, 20])
    """
    start = Start(init, core, moments, generator)
    smaller, plan = factored(
        model,
        rank,
        start,
        layers=layers,
        dense=dense,
        example_inputs=example_inputs,
        inplace=inplace,
    )
    return attach_plan(smaller, plan)


def factored(
    model: nn.Module,
    rank: Ranks,
    start: Start,
    *,
    layers: Iterable[str] | None = None,
    dense: Iterable[str] = (),
    example_inputs: Any = None,
    inplace: bool = False,
) -> tuple[nn.Module, Plan]:
    """As ``factorize``, with the plan beside the network."""
    model = unwrapped(model) if inplace else network_in(model)
    start.check(model)
    found, reasons = candidates(opened(model), layers, dense)
    reasons |= start.unseen(found)
    pieces = {name: piece_of(layer) for name, layer in found.items() if name not in reasons}
    ranks, reasons = ranked(rank, pieces, reasons, core=start.core)
    if not ranks:
        raise InputError(f"no layer would be factored: {listed(reasons)}")
    built = {name: start.build(name, found[name], r) for name, r in ranks.items()}
    if example_inputs is None and start.moments is not None:
        example_inputs = start.moments.example
    example = None if example_inputs is None else first_examples(example_inputs)
    before, whole, said = _costs(model, example), fingerprint(model), notes(model)
    opening = Opening.of(model, built)
    smaller = opening.carried_out(inplace)
    reasons |= installed(smaller, {name: module for name, (module, _) in built.items()}, example)
    opening.undone(smaller, built.keys() - reasons.keys(), inplace)
    choices = {name: choice for name, (_, choice) in built.items() if name not in reasons}
    plan = Plan(
        choices=choices,
        dense=reasons,
        loss=predicted(choices, {}),
        costs=_costs(smaller, example),
        totals=before,
        fingerprint=whole,
        damping=0.0 if start.moments is None else DAMPING,
        moments="" if start.moments is None else start.moments.digest,
        notes=said,
    )
    return smaller, plan


@dataclass(frozen=True)
class Start:
    """How factors start; see ``factorize``."""

    init: str = "svd"
    core: bool = False
    moments: Moments | None = None
    generator: torch.Generator | None = None

    def check(self, model: nn.Module) -> None:
        """Check that the start is known, and that it has moments if and only if it needs them."""
        if self.init not in METHODS:
            raise InputError(f"unknown init {self.init!r}; known: {', '.join(METHODS)}")
        if (self.init == "weighted") != (self.moments is not None):
            raise InputError(
                f"init={self.init!r} with moments={'none' if self.moments is None else 'given'}: "
                "init='weighted' needs moments from eckart.calibrate, and the others take none"
            )
        if self.moments is not None:
            check_same_network(model, self.moments.fingerprint, "these moments")

    def unseen(self, layers: Layers) -> Reasons:
        """The layers that have no moments, with the reason."""
        if self.moments is None:
            return {}
        skipped, known = self.moments.skipped, self.moments.specs
        return {n: skipped.get(n, "it has no moments") for n in layers if n not in known}

    def build(self, name: str, layer: nn.Module, rank: int) -> tuple[Factored, Choice]:
        """The factored module, and its choice for the plan."""
        form = low_rank_form(piece_of(layer), rank, core=self.core)
        factors, loss = self._factors(name, layer, rank)
        shaped = zip(reversed(factors), form.pieces, strict=True)
        module = rebuild(layer, form, [weight_from(f, piece) for f, piece in shaped])
        return module, Choice(METHODS[self.init] + "+core" * self.core, form, loss)

    def _factors(self, name: str, layer: nn.Module, rank: int) -> tuple[Sequence[Tensor], float]:
        """U, [core,] V per group, and the loss when their product replaces the weight."""
        weight = as_matrix(layer).double()
        if self.init == "random":
            factors = random_factors(weight, rank, core=self.core, generator=self.generator)
            return factors, 0.5 * float((weight - reduce(torch.matmul, factors)).square().sum())
        if self.moments is None:
            nested = truncated_svd(weight)
        else:
            problem = problem_of(layer, name, self.moments)
            found = weighted_svd(problem)
            nested = replace(found, right=problem.spread(found.right))
        pieces = nested.with_core(rank) if self.core else nested.balanced(rank)
        return pieces, float(nested.losses[rank])


def _costs(model: nn.Module, example: Any) -> dict[str, int]:
    """Parameters and bytes, and also multiply-adds if there is an example to count them on."""
    return stored_costs(model) if example is None else network_costs(model, example).totals()
