"""Whole networks, which tell how their times follow from those of their layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from eckart.layers import rebuild
from eckart.methods import low_rank_form, spatial_form
from eckart.network.twins import opened
from eckart.records import Form, LayerSpec, Piece
from eckart.records.pieces import IDLE
from eckart.records.timings import Timings, Whole
from eckart.runtimes import Runtime, Times, clock_of, interleaved
from eckart.runtimes.eager import evaluating
from eckart.stages.profile.kinds import coarse

_ROUNDS, _SECONDS = 7, 0.5
Forms = dict[str, Form]


def whole_networks(
    model: nn.Module, specs: dict[str, LayerSpec], inputs: Any, runtime: Runtime, timings: Timings
) -> tuple[list[Whole], list[Times]]:
    """The dense network and three with factors of random weights: predicted and measured."""
    chosen = [forms for forms in (_dense(specs), *_smaller(specs, timings)) if forms]
    threads = timings.terms.threads
    device = next(iter(model.parameters()), torch.empty(0)).device
    networks = [model, *(_with(model, forms) for forms in chosen[1:])]
    runs = [runtime.prepare(network, inputs, threads) for network in networks]
    clock = runtime.clock or clock_of(threads, device)
    times = interleaved(runs, _ROUNDS, clock, _SECONDS)
    sums = [_sum(timings, specs, forms) for forms in chosen]
    return [Whole(ms, found.least) for ms, found in zip(sums, times, strict=True)], times


def _dense(specs: dict[str, LayerSpec]) -> Forms:
    return {name: spec.dense for name, spec in specs.items()}


def _smaller(specs: dict[str, LayerSpec], timings: Timings) -> Iterator[Forms]:
    """Low rank everywhere; a factor per axis, of half the widths and of all, where there are two.

    Widths that kernels like are among them, and widths that have to be brought into another layout.
    """
    low = {name: _halved(spec.piece) for name, spec in specs.items() if _factors(spec.piece)}
    yield _timed(low, specs, timings)
    for share in (0.5, 1.0):
        split = {name: _split(specs[name].piece, share) or form for name, form in low.items()}
        if split != low:
            yield _timed(split, specs, timings)
    if not any(_split(specs[name].piece, 1.0) for name in low):
        yield _timed(dict(list(low.items())[::2]), specs, timings)


def _factors(piece: Piece) -> bool:
    return not piece.is_depthwise and min(piece.inputs, piece.outputs) // piece.groups > 1


def _halved(piece: Piece) -> Form:
    width = min(piece.inputs, piece.outputs) // piece.groups
    return low_rank_form(piece, _timed_near(width / 2, width))


def _split(piece: Piece, share: float) -> Form | None:
    axes = [place for place, axis in enumerate(piece.axes) if axis != IDLE]
    width = min(piece.inputs, piece.outputs) // piece.groups
    rank = _timed_near(width * share, width)
    return spatial_form(piece, (axes[0],), rank) if len(axes) == 2 else None


def _timed_near(wanted: float, most: int) -> int:
    """The timed width up to ``most`` that is nearest to the one that is wanted."""
    return min(coarse(most), key=lambda timed: (abs(timed - wanted), timed))


def _timed(forms: Forms, specs: dict[str, LayerSpec], timings: Timings) -> Forms:
    """Those forms of which all pieces were timed."""
    return {n: f for n, f in forms.items() if timings.layer_ms(specs[n], f) < float("inf")}


def _with(model: nn.Module, forms: Forms) -> nn.Module:
    """A copy with factors of random weights in the place of some layers."""
    smaller = evaluating(opened(model))
    for name, form in forms.items():
        module = smaller.get_submodule(name)
        like = next(module.parameters())
        weights = [
            torch.randn(piece.weight_shape, dtype=like.dtype, device=like.device)
            * max(piece.matrix_shape[2], 1) ** -0.5
            for piece in form.pieces
        ]
        smaller.set_submodule(name, rebuild(module, form, weights))
    return smaller


def _sum(timings: Timings, specs: dict[str, LayerSpec], forms: Forms) -> float:
    return sum(timings.layer_ms(spec, forms.get(n, spec.dense)) for n, spec in specs.items())
