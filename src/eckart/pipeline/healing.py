"""Healing as a part of ``compress``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from eckart.errors import CompressionInterrupted, InputError
from eckart.moments import Moments
from eckart.pipeline.compressed import Compressed
from eckart.records.naming import names_in
from eckart.stages.heal import DEFAULT_TREATMENTS, heal
from eckart.stages.heal.treatments import treatments_named


def treatments_of(wanted: bool | Sequence[str], batches: Any, tolerance: float | None) -> list[str]:
    """The names of the treatments, after a check that there are data for them.

    Raises:
        InputError: a name is unknown, or there is nothing to heal on.
    """
    if not wanted:
        return []
    names = list(DEFAULT_TREATMENTS) if wanted is True else names_in("heal", wanted)
    if isinstance(wanted, str):
        raise InputError(f"heal={wanted!r}: give True, or a list of names such as [{wanted!r}]")
    treatments_named(names)
    if tolerance is not None:
        raise InputError(
            "heal= goes with keep= or budget=: a tolerance is about the network that was "
            "evaluated; call eckart.heal on its result"
        )
    if isinstance(batches, Moments) or iter(batches) is batches:
        raise InputError(
            f"heal= reads the batches again, and got {type(batches).__name__}: give a list, or a "
            "loader without shuffling"
        )
    return names


def healed(
    done: Compressed,
    dense: nn.Module,
    batches: Any,
    treatments: Sequence[str],
    seed: int,
    progress: bool | None,
) -> Compressed:
    """The result with the network healed.

    Raises:
        CompressionInterrupted: it failed; the error carries the result as it was before.
    """
    try:
        found = heal(
            done.model,
            dense,
            batches,
            moments=done.moments,
            treatments=treatments,
            seed=seed,
            progress=progress,
        )
    except Exception as error:
        raise CompressionInterrupted(
            f"the smaller network is in this error's .compressed, but it was not healed "
            f"({type(error).__name__}: {error})",
            done,
        ) from error
    return replace(done, model=found.model, healed=found)
