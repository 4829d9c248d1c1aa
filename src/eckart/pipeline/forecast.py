"""What a run on a large network will take, from its shapes alone: no weights and no data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

import torch
from torch import Tensor, nn

from eckart.layers.registry import known_type_of, piece_of
from eckart.moments.distinct import DistinctInputs
from eckart.network.costs import network_costs, stored_costs
from eckart.network.survey import survey
from eckart.network.twins import opened
from eckart.running.batches import call
from eckart.running.hooks import untouched, watching

_EIGH = 16.0  # of n³, at the speed of float64 products: measured at n = 960 and 2,048
_FREE = 0.9  # of a GPU's memory that weights and sums may take; activations get the rest
_HOUR = 3600.0


@dataclass(frozen=True)
class Work:
    """What a run computes and keeps.

    Attributes:
        params: of the network.
        weight_bytes: of its weights.
        layers, inputs: how many layers can be compressed, and how many tensors they read.
        moment_bytes: of all sums, as calibration keeps them.
        network_flops: of a forward and a backward pass for one token, without weight gradients. In
            products such as attention's both sides have gradients.
        moment_flops: of the sums for one token, in float32.
        decomposition_flops: of low rank under both moments for all layers, in float64.
        largest_flops: of the layer that takes longest.
        factor_bytes: of the decompositions, as ``curves`` keeps them.
    """

    params: int
    weight_bytes: int
    layers: int
    inputs: int
    moment_bytes: int
    network_flops: float
    moment_flops: float
    decomposition_flops: float
    largest_flops: float
    factor_bytes: int


@dataclass(frozen=True)
class Machines:
    """What a run has. The default is a guess for eight GPUs of 80 GB; none was measured.

    Attributes:
        gpus: how many.
        flops_per_second: what the network sustains on one of them, in its own precision.
        memory_bytes: of one.
        products: speed of float32 products, as a part of that.
        decompositions: speed of products in float64, as a part of that.
    """

    gpus: int = 8
    flops_per_second: float = 4e14
    memory_bytes: float = 80e9
    products: float = 1 / 8
    decompositions: float = 1 / 40


@dataclass(frozen=True)
class Forecast:
    """How long a run takes, and where it does not fit.

    Attributes:
        gpus_for_weights: how many hold the network once.
        passes: over the data, because the sums of some layers fit at a time; 0 if nothing fits.
        network_hours, moment_hours, decomposition_hours: on all GPUs.
    """

    gpus_for_weights: int
    passes: int
    network_hours: float
    moment_hours: float
    decomposition_hours: float


def work_of(model: nn.Module, example: Any) -> Work:
    """What a run on a network computes, by one forward pass, on the meta device for example.

    Args:
        model: the network; its weights may be on the meta device.
        example: the inputs of one example, all of whose positions are tokens.
    """
    network = opened(model)
    found, _ = survey(network)
    rows, leads = _read(network, found, example)
    tokens = max(rows.values(), default=1)
    pieces = {name: piece_of(found[name]) for name in rows}
    shapes = {name: piece.moment_shape for name, piece in pieces.items()}
    own = {name: shapes[name] for name in leads}
    decompositions = [_decomposition(*shape) for shape in shapes.values()]
    stored, costs = stored_costs(model), network_costs(model, example)
    return Work(
        params=stored["params"],
        weight_bytes=stored["bytes"],
        layers=len(rows),
        inputs=len(leads),
        moment_bytes=8
        * sum(g * (i * i + pieces[n].matrix_shape[2]) for n, (g, _, i) in own.items())
        + 8 * sum(g * o * o for g, o, _ in shapes.values()),
        network_flops=2.0 * (2 * costs.macs + costs.other_macs) / tokens,
        moment_flops=2.0 * sum(rows[n] / tokens * g * i * i for n, (g, _, i) in own.items())
        + 2.0 * sum(rows[n] / tokens * g * o * o for n, (g, o, _) in shapes.items()),
        decomposition_flops=sum(decompositions),
        largest_flops=max(decompositions, default=0.0),
        factor_bytes=sum(4 * g * min(o, i) * (o + i) for g, o, i in shapes.values()),
    )


def _read(
    network: nn.Module, layers: Mapping[str, nn.Module], example: Any
) -> tuple[dict[str, int], list[str]]:
    """The rows of each layer that is called, and the first layer to read each distinct tensor."""
    inputs, rows, leads = DistinctInputs(), dict[str, int](), list[str]()

    def see(name: str, module: nn.Module, x: Tensor) -> None:
        if inputs.index(x, "rows") == len(leads):
            leads.append(name)
        rows[name] = rows.get(name, 0) + prod(known_type_of(module).size(module, x))

    with untouched(network), torch.no_grad(), watching(layers, see):
        call(network, example)
    return rows, leads


def _decomposition(groups: int, out: int, inputs: int) -> float:
    """FLOPs of ``weighted_svd``: products, a Cholesky factor, and one ``eigh``."""
    short = min(out, inputs)
    lift = out**3 / 3 + 2 * out * out * inputs + out * out * short
    seen = 2 * out * inputs * short + (2 * out * inputs**2 if out <= inputs else inputs**3 / 3)
    after = 2 * out * inputs * short + (0 if out <= inputs else 2 * out * inputs**2 * 3)
    return groups * (lift + seen + after + _EIGH * short**3)


def forecast(work: Work, machines: Machines, tokens: int) -> Forecast:
    """How long calibration on so many tokens and the decompositions take.

    Some GPUs hold the network together, and what they have left holds sums. If those of all layers
    do not fit at once, those of some are gathered in one pass, and others in the next, see
    ``workspace=`` of ``calibrate``. The larger the group, the fewer passes; the more groups, the
    more passes at a time. All GPUs are taken to be busy, and talk between them to cost nothing.
    """
    room = _FREE * machines.memory_bytes
    least = 1 + int(work.weight_bytes / room)
    possible = range(least, max(least, machines.gpus) + 1)
    held = min(possible, key=lambda n: _passes(work, n * room) / _used(machines.gpus, n))
    passes = _passes(work, held * room) if held <= machines.gpus else 0
    rate = machines.flops_per_second * _used(machines.gpus, held) * _HOUR
    slow = machines.flops_per_second * machines.decompositions * _HOUR
    alone = work.largest_flops / slow
    return Forecast(
        gpus_for_weights=held,
        passes=passes,
        network_hours=passes * tokens * work.network_flops / rate,
        moment_hours=tokens * work.moment_flops / rate / machines.products,
        decomposition_hours=max(alone, work.decomposition_flops / slow / machines.gpus),
    )


def _passes(work: Work, room: float) -> int:
    """How many passes the sums take, and those of the batch under way in float32."""
    return ceil(1.5 * work.moment_bytes / (room - work.weight_bytes))


def _used(gpus: int, held: int) -> int:
    """How many GPUs hold a whole copy of the network."""
    return max(1, gpus // held) * held
