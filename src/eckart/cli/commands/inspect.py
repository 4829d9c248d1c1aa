"""``eckart inspect``: what of a network can be compressed, before any data is needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eckart.cli.commands.plan_run import planned_run
from eckart.cli.options.forecasting import ForecastOptions
from eckart.cli.options.grouping import grouped
from eckart.cli.options.parsing import parse_size
from eckart.cli.options.shared import ModelOptions, RunOptions
from eckart.cli.shown.channels import group_tables
from eckart.cli.shown.output import Result
from eckart.cli.shown.tables import make_table
from eckart.errors import InputError
from eckart.records import Form, Piece
from eckart.report.formats import UNKNOWN, short_count

if TYPE_CHECKING:
    from rich.table import Table
    from torch import nn

_FEW = 64  # examples, which everybody calibrates on


@dataclass(frozen=True)
class LayerFacts:
    """One layer that can be compressed.

    Attributes:
        name, type: path in the network, and class.
        form: widths and kernel, for people.
        shape: of the weight.
        params: number of parameters.
        macs: multiply-adds for one example; None when no input size was given.
        moment_bytes: bytes its moments take, at most: layers that read one input share it.
        examples: how many give as many rows as the layer has inputs; None when no input size was
            given. With fewer, calibration cannot tell what the layer loses.
    """

    name: str
    type: str
    form: str
    shape: tuple[int, ...]
    params: int
    macs: int | None
    moment_bytes: int
    examples: int | None


@dataclass(frozen=True)
class Seen:
    """What calibration would see of the outputs, as far as one example shows it.

    Attributes:
        metric: what it measures a change of the outputs in; None without an example.
        joint: whether it holds two moments of the inputs.
        shapes: of the tensors of each output that counts, by path.
        ignored: why other parts do not count, by path.
    """

    metric: str | None = None
    joint: bool = False
    shapes: Mapping[str, list[list[int]]] = field(default_factory=dict)
    ignored: Mapping[str, str] = field(default_factory=dict)

    def tables(self) -> list[Table]:
        """A table where there is more to see than one tensor."""
        rows = [(path, " ".join(map(str, shapes))) for path, shapes in self.shapes.items()]
        rows += [(path, f"left out: {why}") for path, why in self.ignored.items()]
        columns = {"output": False, "shape": False}
        return [make_table("Outputs", columns, rows)] if len(rows) > 1 else []


@grouped
def inspect_command(
    model: ModelOptions,
    run: RunOptions,
    planned: ForecastOptions,
    *,
    input_size: Annotated[
        str | None,
        typer.Option(
            help="Shape of one example, such as 3,224,224, or its tokens, such as 512, to count "
            "multiply-adds and to find the channels that can be removed."
        ),
    ] = None,
) -> Result:
    """List the layers and channels that can be compressed, and why the others cannot."""
    size = None if input_size is None else parse_size(input_size, "--input-size")
    model.check()
    if planned.plan_run:
        run.start()
        return planned_run(model, planned)

    from eckart.network.channel_groups import coupling  # here, because these bring torch
    from eckart.network.survey import survey
    from eckart.network.twins import opened

    run.start()
    network = opened(model.load(filled_later=True))
    found, skipped = survey(network)
    macs: Mapping[str, int] = {}
    total_macs = None
    coupled, seen = None, Seen()
    if size is not None:
        example = _example(network, size)
        macs, total_macs = _count_macs(network, example, size)
        skipped |= {name: "not called for this input" for name in found if name not in macs}
        coupled, seen = coupling(network, example, dense=skipped), _seen(network, example)
    facts = [
        _facts(name, layer, macs, seen) for name, layer in found.items() if name not in skipped
    ]
    params = sum(p.numel() for p in network.parameters())
    dense = {name: _own_params(network.get_submodule(name)) for name in skipped}
    document = {
        "model": model.model,
        "params": params,
        "macs": total_macs,
        "moment_bytes": sum(fact.moment_bytes for fact in facts),
        "layers": [asdict(fact) for fact in facts],
        "skipped": skipped,
        "skipped_params": dense,
        "groups": None if coupled is None else [group.as_json() for group in coupled.groups],
        "whole": None if coupled is None else dict(coupled.refused),
        "metric": seen.metric,
        "outputs": seen.shapes,
        "ignored": seen.ignored,
    }
    channels = [] if coupled is None else group_tables(coupled.groups, found, coupled.refused)
    summary = _summary(facts, params, total_macs)
    shown = [*_shown(facts), *_shown_dense(skipped, dense, params)]
    return Result(document, [*shown, *channels, *seen.tables(), summary])


def _example(network: nn.Module, size: tuple[int, ...]) -> Any:
    """One example of zeros: token ids for a network of ``transformers`` that reads them."""
    import torch

    if getattr(network, "main_input_name", None) == "input_ids":
        return {"input_ids": torch.zeros(1, *size, dtype=torch.int64)}
    dtype = next((p.dtype for p in network.parameters()), torch.float32)
    return torch.zeros(1, *size, dtype=dtype)


def _seen(network: nn.Module, example: Any) -> Seen:
    """The metric that calibration takes by itself, and what it reads of the outputs."""
    import torch

    from eckart.metrics import Outputs, fitting_metric, is_joint, probe_of
    from eckart.running.batches import call
    from eckart.running.hooks import untouched

    with untouched(network), torch.no_grad():
        outputs = call(network, example)
    metric = fitting_metric(network, outputs, example)
    probe = probe_of(metric)
    if not isinstance(probe, Outputs):
        return Seen(metric, is_joint(probe))
    found = probe.tensors(outputs, example)
    shapes = {path: [list(z.shape) for z in tensors] for path, tensors in found.items()}
    return Seen(metric, False, shapes, probe.left_out(outputs, example))


def _count_macs(
    network: nn.Module, example: Any, size: tuple[int, ...]
) -> tuple[Mapping[str, int], int]:
    """Multiply-adds by layer and in all, for one example."""
    from eckart.network.costs import network_costs

    try:
        costs = network_costs(network, example)
    except Exception as error:
        raise InputError(
            f"the network does not run on an input of {' × '.join(map(str, size))}: "
            f"{type(error).__name__}: {error}"
        ) from error
    return costs.layer_macs, costs.macs


def _facts(name: str, layer: nn.Module, macs: Mapping[str, int], seen: Seen) -> LayerFacts:
    from eckart.layers import piece_of
    from eckart.moments.accumulator import moment_bytes

    piece = piece_of(layer)
    return LayerFacts(
        name,
        type(layer).__name__,
        str(Form((piece,))),
        piece.weight_shape,
        piece.params,
        macs.get(name),
        moment_bytes({name: layer}, max(1, len(seen.shapes)), seen.joint),
        _examples(piece, macs.get(name)),
    )


def _examples(piece: Piece, macs: int | None) -> int | None:
    """How many examples of these multiply-adds give as many rows as there are inputs."""
    rows = (macs or 0) // piece.weights
    return -(-piece.moment_shape[2] // rows) if rows else None


def _own_params(module: nn.Module) -> int:
    """Parameters of a module without those of the modules inside it."""
    return sum(p.numel() for p in module.parameters(recurse=False))


def _shown(facts: list[LayerFacts]) -> list[Table]:
    columns = {"layer": False, "type": False, "shape": False}
    numbers = {"params": True, "MACs": True, "moments MB": True}
    rows = [
        (
            fact.name,
            fact.type,
            fact.form,
            f"{fact.params:,}",
            UNKNOWN if fact.macs is None else short_count(fact.macs),
            f"{fact.moment_bytes / 1e6:.2f}",
        )
        for fact in facts
    ]
    return [make_table("Can be compressed", {**columns, **numbers}, rows)]


def _shown_dense(skipped: Mapping[str, str], dense: Mapping[str, int], params: int) -> list[Table]:
    """The layers that stay, with their share of all parameters, largest first."""
    columns = {"layer": False, "params": True, "of all": True, "reason": False}
    rows = [
        (name, f"{dense[name]:,}", f"{dense[name] / max(1, params):.1%}", skipped[name])
        for name in sorted(skipped, key=lambda name: -dense[name])
    ]
    return [make_table("Stay dense", columns, rows)] if rows else []


def _summary(facts: list[LayerFacts], params: int, macs: int | None) -> str:
    part = sum(fact.params for fact in facts)
    share = f" ({part / params:.1%})" if params else ""
    memory = sum(fact.moment_bytes for fact in facts) / 1e6
    counted = "" if macs is None else f" {short_count(macs)} multiply-adds for one example."
    return (
        f"{len(facts)} layers can be compressed; they hold {part:,} of {params:,} "
        f"parameters{share}.{counted} Their moments take at most {memory:.1f} MB."
        f"{_least_examples(facts)}"
    )


def _least_examples(facts: list[LayerFacts]) -> str:
    """How many examples calibration needs at least, where it is more than a few."""
    known = [(fact.examples, fact.name) for fact in facts if fact.examples is not None]
    least, name = max(known, default=(0, ""))
    if least <= _FEW:
        return ""
    return (
        f" Calibrate on {least:,} examples or more, or {name} sees fewer rows than it has inputs."
    )
