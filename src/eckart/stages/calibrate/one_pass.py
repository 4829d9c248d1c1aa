"""One streaming pass over the data, for some layers."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import is_dataclass
from typing import Any

from eckart.errors import CalibrationInterrupted, InputError, NoGradientError
from eckart.metrics import is_joint, name_of, probe_of
from eckart.moments import Moments
from eckart.moments.accumulator import moment_bytes
from eckart.moments.distributed import check_ranks_agree, stopped_ranks, summed_over_ranks
from eckart.moments.places import gone, places
from eckart.records.offer import AUTO
from eckart.running.hooks import untouched
from eckart.running.interruptions import deferred_interrupt, until_error
from eckart.running.progress import length_of, tracked
from eckart.stages.calibrate.run import Run
from eckart.stages.calibrate.task import Task

_log = logging.getLogger("eckart")


def gathered(task: Task, batches: Iterable[Any], progress: bool | None = None) -> Moments:
    """The moments of a task's layers, over all ranks of a process group if there is one.

    Raises:
        InputError: there is no batch, or one cannot be used.
        MismatchError: the ranks have different networks, layers or settings; raised on every rank.
        CalibrationInterrupted: Ctrl-C, an error in the loader, or a rank that stopped or is gone.

    Every error carries the moments of the batches before it as ``.moments``.
    """
    run, what = Run(task), _described(task)
    _log.info(what)
    try:
        check_ranks_agree(_agreed(task))
        everyone = places()
    except RuntimeError as error:  # of the process group
        raise _interrupted(run.moments(), error) from error
    failure, reason = _taken_in(run, iter(tracked(batches, what, progress, length_of(batches))))
    moments = run.moments()
    try:
        moments = summed_over_ranks(moments)
        stopped = stopped_ranks(failure or reason)
        if stopped and not failure:
            reason = reason or RuntimeError(stopped)
    except RuntimeError as error:  # of the process group: a rank is gone, or its time is up
        reason = RuntimeError(f"{gone(everyone)}: {error!s:.200}")
    if failure is not None:
        setattr(failure, "moments", moments)  # noqa: B010
        raise failure
    if reason is not None and moments.batches > 0:
        raise _interrupted(moments, reason) from reason
    if moments.batches == 0:
        raise reason or InputError("the loader gave no batch: calibration needs at least one")
    if moments.metric == "outputs" and not moments.spreads:
        said = "; ".join(f"{path or 'the output'}: {why}" for path, why in moments.left_out.items())
        raise NoGradientError(f"no output of the network counts in any batch ({said:.300})")
    return moments


def _taken_in(
    run: Run, batches: Iterator[Any]
) -> tuple[BaseException | None, BaseException | None]:
    """Take in what can be; the error that a batch failed with, and what else ended the pass."""
    failure: BaseException | None = None
    reason: BaseException | None = None
    with untouched(run.task.model), deferred_interrupt() as stop:
        for batch, reason in until_error(batches):
            failure = run.tried(batch) if reason is None else None
            if failure or reason or stop.is_set():
                break
    if stop.is_set() or isinstance(failure, KeyboardInterrupt):
        return None, KeyboardInterrupt()
    return failure, reason


def _interrupted(moments: Moments, reason: BaseException) -> CalibrationInterrupted:
    return CalibrationInterrupted(
        f"calibration stopped after {moments.batches} batches ({type(reason).__name__}: {reason}); "
        "they are kept in .moments; go on with first_batch=moments.batches and add the two",
        moments,
    )


def _described(task: Task) -> str:
    """With the memory that the sums take."""
    named = task.metric is not None and task.metric != AUTO
    joint = is_joint(probe_of(task.metric)) if named and task.metric is not None else False
    needed = moment_bytes(task.layers, int(task.metric is not None), joint)
    return f"calibrating ({needed / 1e6:.1f} MB of moments)"


def _agreed(task: Task) -> dict[str, str]:
    """What all ranks must have in common."""
    metric = repr(task.metric) if is_dataclass(task.metric) else str(name_of(task.metric))
    return {
        "network": task.fingerprint,
        "metric": metric,
        "layers": " ".join(task.layers),
        "seed": str(task.seed),
        "first_batch": str(task.first_batch),
    }
