"""Moments that do not fit the memory: gathered for some layers at a time, and kept on disk."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eckart.errors import CalibrationInterrupted, InputError, NoGradientError
from eckart.layers import piece_of, type_of
from eckart.metrics import Outputs, Probe, fitting_metric, is_joint, probe_of
from eckart.moments import Moments
from eckart.moments.distinct import DistinctInputs
from eckart.moments.distributed import world
from eckart.moments.parts import finished_layers
from eckart.records.offer import AUTO
from eckart.running.batches import call, inputs_for, moved
from eckart.running.hooks import untouched, watching
from eckart.stages.calibrate.one_pass import gathered
from eckart.stages.calibrate.replay import Replayed
from eckart.stages.calibrate.run import NO_GRADIENT
from eckart.stages.calibrate.task import Task
from eckart.storage.workspace import Workspace

_log = logging.getLogger("eckart")
MEMORY_BYTES = 4 * 2**30
_BYTES = 8 + 4  # of an entry: float64 sums, and those of the batch under way in float32


def gathered_in(
    directory: str | Path,
    task: Task,
    batches: Iterable[Any],
    memory_bytes: int,
    progress: bool | None = None,
) -> Moments:
    """The moments in a workspace, once those that are missing are gathered.

    Args:
        directory: the workspace, begun if there is none.
        task: what is wanted; the workspace is of its network, layers and settings.
        batches: gone over once for their digest, and once for every part that is missing.
        memory_bytes: that the sums of one part may take.
        progress: show bars; None shows them on a terminal.

    Raises:
        InputError: the sums of one layer take more, or the batches differ from pass to pass.
        NoGradientError: none reaches any layer.
        MismatchError: the workspace is of another network, other data or other settings.
        CalibrationInterrupted: as ``gathered``; the parts finished before are kept.
        CheckpointError: the workspace is damaged, or the disk is full; likewise.
    """
    if world()[1] > 1:
        raise InputError("one process fills a workspace: calibrate without torch.distributed")
    data = Replayed(batches)
    workspace = Workspace.opened(
        directory, {**task.settings, "data": data.digest, "layers": list(task.layers)}
    )
    done = finished_layers(workspace)
    missing = {name: layer for name, layer in task.layers.items() if name not in done}
    for group in groups_within(task.model, missing, data.first, memory_bytes, task.metric):
        path = workspace.next_shard()
        _log.info("gathering %s: %s", path.name, " ".join(group))
        try:
            _gathered(data, group, task, progress).save(path)
        except CalibrationInterrupted as error:
            kept = f"parts finished in {workspace.directory}: {len(workspace.shards)}"
            raise CalibrationInterrupted(
                f"calibration stopped ({error.__cause__!r}); {kept}, and the same call goes on "
                "from there",
                error.moments,
            ) from error.__cause__
    whole = Moments.load(workspace.directory)
    if task.metric is not None and not whole.specs:
        raise NoGradientError
    return whole


def _gathered(data: Replayed, group: Sequence[str], task: Task, progress: bool | None) -> Moments:
    """The moments of some layers, with the reasons for those of them that have none."""
    part = replace(task, layers={name: task.layers[name] for name in group})
    try:
        moments = gathered(part, data, progress)
    except NoGradientError:
        moments = gathered(replace(part, metric=None), [data.first], progress)
        moments = moments.without_layers(NO_GRADIENT)
    data.check()
    return moments


def groups_within(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    batch: Any,
    memory_bytes: int,
    metric: str | Probe | None,
) -> list[list[str]]:
    """Layers whose sums fit the memory together, in the order in which the network calls them.

    Layers that read one tensor, whose sum is kept once, stay together: q, k and v, say. Those that
    the batch does not call are taken to need none, and come with the last.

    Cost: one forward pass of the batch.
    """
    if not layers:
        return []
    groups: list[list[str]] = []
    free = 0
    called, outputs = _reading_together(model, layers, batch)
    if metric == AUTO:
        metric = fitting_metric(model, outputs, inputs_for(model, batch))
    probe = None if metric is None else probe_of(metric)
    apart = len(probe.tensors(outputs, batch)) if isinstance(probe, Outputs) else 1
    for together in called:
        needed = _needed([layers[name] for name in together], probe, apart)
        if needed > memory_bytes:
            raise InputError(
                f"the moments of {', '.join(together)} take {needed} bytes: give memory_bytes of "
                "at least that, or leave them out with layers=…"
            )
        if needed > free:
            groups.append([])
            free = memory_bytes
        groups[-1] += together
        free -= needed
    idle = [name for name in layers if not any(name in together for together in called)]
    return [*groups[:-1], [*groups[-1], *idle]] if groups else [idle]


def _needed(together: Sequence[nn.Module], probe: Probe | None, apart: int) -> int:
    """Bytes of one input's sum and of what every layer's gradients add for each output."""
    shapes = [piece_of(layer).moment_shape for layer in together]
    groups, _, inputs = shapes[0]
    shared = groups * inputs * inputs
    if probe is None:
        return _BYTES * shared
    joint = shared * is_joint(probe)
    return _BYTES * (shared + sum(joint + apart * groups * out * out for groups, out, _ in shapes))


def _reading_together(
    model: nn.Module, layers: Mapping[str, nn.Module], batch: Any
) -> tuple[list[list[str]], Any]:
    """Layers by what they read, in the order of the first call; and the outputs."""
    inputs, read = DistinctInputs(), dict[str, list[int]]()

    def see(name: str, module: nn.Module, x: Tensor) -> None:
        kind = type_of(module)
        geometry = None if kind is None else kind.geometry(module)
        read.setdefault(name, []).append(inputs.index(x, geometry))

    with untouched(model), torch.no_grad(), watching(layers, see):
        outputs = call(model, moved(inputs_for(model, batch), model))
    together: dict[tuple[int, ...], list[str]] = {}
    for name, indices in read.items():
        together.setdefault(tuple(indices), []).append(name)
    return list(together.values()), outputs
