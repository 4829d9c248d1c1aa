"""What is promised of a smaller network, and checked."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from benchmarks.measuring.counts import count_params
from benchmarks.zoo.network import Network
from benchmarks.zoo.notes import Wrong
from eckart.metrics.floating import CACHES
from eckart.network.wrappers import unwrapped
from eckart.running.batches import arguments_for, inputs_for

SEED = 2  # of networks that draw random numbers


def outputs(model: nn.Module, batch: Any) -> list[Tensor]:
    """All tensors that a network returns for a batch, detached; a cache may have fewer heads."""
    torch.manual_seed(SEED)
    args, kwargs = arguments(model, batch)
    found = model(*args, **kwargs)
    if isinstance(found, Mapping):
        found = {key: value for key, value in found.items() if key not in CACHES}
    return [leaf.detach() for leaf in leaves(found) if isinstance(leaf, Tensor)]


def arguments(model: nn.Module, batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """How a batch goes into a network: a mapping by keyword, a tuple by position."""
    inside = unwrapped(model)
    return arguments_for(inside, inputs_for(inside, batch))


def leaves(value: Any) -> list[Any]:
    """What a structure holds; of an object that is no container, its attributes."""
    found = []
    for leaf in pytree.tree_leaves(value):
        inside = vars(leaf) if hasattr(leaf, "__dict__") and not isinstance(leaf, Tensor) else None
        found += leaves(list(inside.values())) if inside else [leaf]
    return found


def check_runs(network: Network, dense: nn.Module, smaller: nn.Module, data: Sequence[Any]) -> None:
    """Every batch runs in both modes where the dense network runs, and nothing is NaN.

    Raises:
        Wrong: an output is not finite, or its shape changed.
    """
    for training in (False, True):
        one, other = (copy.deepcopy(m).train(training) for m in (dense, smaller))
        for index, batch in enumerate(data):
            where = f"batch {index} in {'train' if training else 'eval'} mode"
            try:
                expected = outputs(one, batch)
            except Exception:
                if not training:
                    raise
                continue  # detectors need targets in training
            try:
                found = outputs(other, batch)
            except Exception as error:
                raise Wrong(f"{where}: {type(error).__name__}: {error}") from error
            _check_alike(expected, found, where, network.varying)


def _check_alike(expected: list[Tensor], found: list[Tensor], where: str, varying: bool) -> None:
    shapes = [[tuple(t.shape) for t in side] for side in (expected, found)]
    if shapes[0] != shapes[1] and not varying:
        raise Wrong(f"{where}: shapes {shapes[1]}, dense {shapes[0]}"[:500])
    for before, after in zip(expected, found, strict=not varying):
        if torch.isfinite(before).all() and not torch.isfinite(after).all():
            raise Wrong(f"{where}: outputs are not finite")


def check_equal(one: nn.Module, other: nn.Module, data: Sequence[Any]) -> None:
    """Both give the same outputs to the bit, in eval mode.

    Raises:
        Wrong: they differ.
    """
    for index, batch in enumerate(data):
        pairs = zip(outputs(one.eval(), batch), outputs(other.eval(), batch), strict=True)
        for before, after in pairs:
            if not torch.equal(before.nan_to_num(), after.nan_to_num()):
                by = (before.double() - after.double()).abs().max()
                raise Wrong(f"batch {index}: the reloaded network differs by {by:.3g}")


def check_budget(smaller: nn.Module, most: int) -> None:
    """No more parameters than the budget allows.

    Raises:
        Wrong: there are more.
    """
    found = count_params(smaller)
    if found > most:
        raise Wrong(f"{found:,} parameters, {found / most:.3f} of the budget")
