"""The dense network with weights and activations of 8 bits, which tells what its layers take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from eckart.layers import Activations, rebuild
from eckart.linalg.rounding import Grid, Rounded
from eckart.network.activation_ranges import Weighing, ranges_of
from eckart.network.twins import opened
from eckart.records import Form, LayerSpec, Piece
from eckart.records.pieces import ACTIVATIONS
from eckart.records.timings import Timings, Whole
from eckart.runtimes import Runtime, clock_of, interleaved
from eckart.runtimes.eager import evaluating

_ROUNDS, _SECONDS = 7, 0.5
_LEAST_MS = 1e-6  # of layers too fast to be timed


def rounded_network(
    model: nn.Module, specs: dict[str, LayerSpec], inputs: Any, runtime: Runtime, timings: Timings
) -> Whole:
    """The network with all layers in 8 bits that can be: predicted and measured."""
    forms = {name: Form((_rounded(spec.piece),)) for name, spec in specs.items() if spec.can_round}
    run = runtime.prepare(_with(model, forms, inputs), inputs, timings.terms.threads)
    device = next(iter(model.parameters()), torch.empty(0)).device
    clock = runtime.clock or clock_of(timings.terms.threads, device)
    (times,) = interleaved([run], _ROUNDS, clock, _SECONDS)
    layers = sum(timings.layer_ms(spec, forms.get(n, spec.dense)) for n, spec in specs.items())
    return Whole(max(layers, _LEAST_MS), times.least)


def _rounded(piece: Piece) -> Piece:
    return replace(piece, bits=ACTIVATIONS, activations=ACTIVATIONS)


def _with(model: nn.Module, forms: dict[str, Form], inputs: Any) -> nn.Module:
    """A copy with random codes, whose activations are rounded in the ranges of the inputs."""
    smaller = evaluating(opened(model))
    even = {name: _even(form.pieces[0]) for name, form in forms.items()}
    ranges = ranges_of(smaller, even, [inputs])
    for name, found in ranges.items():
        layer = rebuild(smaller.get_submodule(name), forms[name], [_codes(forms[name].pieces[0])])
        smaller.set_submodule(name, layer)
        rounding = next(m for m in layer.modules() if isinstance(m, Activations))
        rounding.take(found.input, found.output)
    return smaller


def _even(piece: Piece) -> Weighing:
    """Errors in all channels cost the same."""
    return Weighing(torch.ones(piece.inputs).double(), torch.ones(piece.outputs).double())


def _codes(piece: Piece) -> Rounded:
    groups, rows, columns = piece.matrix_shape
    scales = torch.full(piece.scales, 1e-2 * columns**-0.5).half()
    codes = torch.randint(0, 256, (groups, rows, columns), dtype=torch.uint8)
    return Rounded(codes, Grid(scales, None, piece.bits, columns), 0.0)
