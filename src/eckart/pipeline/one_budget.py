"""One smaller network for one budget or tolerance."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import Any

from torch import nn
from typing_extensions import Unpack

from eckart.errors import CompressionInterrupted, InputError, NoGainWarning
from eckart.methods import Cache, fitting_methods
from eckart.metrics import Chosen, Probe
from eckart.moments import Moments
from eckart.network.survey import matching, survey
from eckart.network.twins import opened
from eckart.network.wrappers import network_in
from eckart.pipeline.compressed import Compressed
from eckart.pipeline.healing import healed, treatments_of
from eckart.records import Budget, Offer
from eckart.records.budgets import Scope
from eckart.records.offer import AUTO, Allowed
from eckart.records.timings import Timings
from eckart.running.arguments import check_kind
from eckart.runtimes.pace import Pace
from eckart.scores import Evaluate
from eckart.search.plan import Search, fitted
from eckart.search.sequence import checked_confidence
from eckart.search.timed import check_timings, pacer_of, timed_network
from eckart.stages.calibrate import calibrate
from eckart.stages.curves import curves
from eckart.stages.measure import measure
from eckart.tasks import Workers, checked_workers

_TIMED_S = 0.05  # enough to tell slower from faster


def compress(
    model: nn.Module,
    batches: Iterable[Any] | Moments,
    *,
    keep: float | None = None,
    budget: Budget | None = None,
    tolerance: float | None = None,
    confidence: float | None = None,
    of: Scope = "model",
    evaluate: Evaluate | None = None,
    report: Evaluate | None = None,
    offer: Offer | None = None,
    metric: str | Probe | None = AUTO,
    outputs: Chosen = None,
    seed: int = 0,
    workspace: str | Path | None = None,
    heal: bool | Sequence[str] = False,
    timings: Timings | None = None,
    latency: bool = True,
    workers: Workers = 1,
    progress: bool | None = None,
    **allowed: Unpack[Allowed],
) -> Compressed:
    """Make a trained network smaller: calibrate, predict, choose, replace.

    Exactly one of ``keep``, ``budget`` and ``tolerance`` is given.

    Args:
        model: the trained network; it is not changed. Wrappers by ``torch.compile`` and
            ``DataParallel`` are left out.
        batches: calibration data, consumed once, see ``calibrate``; or moments gathered before.
        keep: the fraction of the parameters that may be kept.
        budget: limits on one or several costs.
        tolerance: find the smallest network whose score by ``evaluate`` is worse than the dense
            one's by less than this, or not worse at all. The search is a bisection along the
            allocator's hull, with the guarantees of ``eckart.search.bisection.smallest_passing``.
        confidence: with a tolerance: the chance, such as 0.95, that the network found loses less
            than this on *further* data, of which those of ``evaluate`` are a random sample in
            random order, however many networks were tried. Each is compared with the dense one
            example by example, until enough have been read, see
            ``eckart.search.sequence.smallest_shown``. ``evaluate`` is ``eckart.accuracy``,
            ``perplexity`` or ``torch_metric``, or returns a ``Score`` with samples. None decides
            by the scores on these data alone.
        of: what ``keep`` is a fraction of: ``"model"``, ``"reached"`` or ``"sites"``, see
            ``Budget``.
        evaluate: ``evaluate(model)`` returns a number, where higher is better, or a ``Score``. It
            decides under a tolerance.
        report: scores both networks at the end. Its data should not have been used to choose
            anything. Without a tolerance, None uses ``evaluate`` for this.
        offer: what may be done to which layers, and how losses are predicted.
        metric: see ``calibrate``.
        outputs: see ``calibrate``.
        seed: of the probes.
        workspace: a folder for networks whose moments do not fit in memory, see ``calibrate``.
            Finished moments and decompositions stay in it. After a run was killed, the same call
            continues it, and another budget costs seconds.
        heal: whether to make the network better at its size, on the same batches, before it is
            measured; or the names of the treatments, see ``eckart.heal``. True takes those without
            labels and gradient steps. It goes with ``keep`` and ``budget``, and the batches must be
            a list or loader that can be read several times.
        timings: from ``eckart.profile``, for a limit in milliseconds. Up to six networks are then
            built and measured beside the dense one, and the result is within the limit as measured.
        latency: whether to time both networks at the end: on the terms of the timings, or without
            them on one example, for a twentieth of a second each.
        workers: who predicts losses, see ``curves``.
        progress: whether to show bars; None shows them on a terminal.
        **allowed: fields of ``Offer``, instead of ``offer``: ``dense=["fc"]``.

    Raises:
        InputError: an argument or the data cannot be used; names are checked before calibration.
        NonFiniteError: weights, activations or gradients are NaN or infinite; names the layer.
        BudgetError: the budget is out of reach; says what is reachable.
        CompressionInterrupted: the last evaluation failed, or was interrupted; ``.compressed`` has
            the smaller network.

    Every error after calibration carries the moments as ``.moments``. A ``NoGainWarning`` tells of
    a result that is slower than the dense network, or whose score is worse by more than a tenth.

    Example:
        >>> import torch, eckart
        >>> network = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Linear(30, 4))
        >>> smaller = eckart.compress(network, [torch.randn(64, 20)], keep=0.6)
        >>> smaller.plan.costs["params"] <= 0.6 * smaller.plan.totals["params"]
        True
    """
    model = network_in(model)
    workers = checked_workers(workers, model)
    goal = _goal(keep, budget, tolerance, of, evaluate)
    _check_confidence(confidence, tolerance)
    treatments = treatments_of(heal, batches, tolerance)
    check_timings(goal, timings)
    limited = goal.limits if isinstance(goal, Budget) else ["params"]  # a tolerance saves those
    offer = Offer.of(offer, allowed).under(limited)
    fitting_methods(model, offer.methods)  # an unknown name fails before anything costly is done
    if offer.dense:
        matching(offer.dense, [name for part in survey(opened(model)) for name in part])
    how: dict[str, Any] = {"metric": metric, "outputs": outputs, "seed": seed}
    moments = _moments(model, batches, how, workspace, progress)
    with _carried_by_errors(moments):
        options = curves(model, moments, offer=offer, workers=workers, progress=progress)
        cache = Cache.beside(moments, options.states)
        options = options if timings is None else options.timed(timings)
        search = Search(model, moments, evaluate, goal, cache, confidence)
        pace: Pace | None = None
        if timings is not None and isinstance(goal, Budget) and goal.ms is not None:
            timed = timed_network(search, goal, options, timings)
            found, options, pace = timed.applied, timed.options, timed.pace
        else:
            sure = confidence is not None
            found, options = fitted(model, moments, options, search.choose, cache, shown=sure)
            pace = _pace(model, found.model, moments, timings) if latency else None
        done = Compressed(
            model=found.model,
            plan=found.plan,
            moments=moments,
            curves=options,
            evaluations=search.evaluations,
            search=search.last,
        )
        if treatments:
            done = healed(done, model, batches, treatments, seed, progress)
        judge = report or (evaluate if tolerance is None else None)
        done = _measured(done, model, judge, latency and pace is None)
        done = done if pace is None or timings is None else done.timed(pace, timings.terms)
    if done.no_gain:
        warnings.warn(f"the smaller network {done.no_gain}", NoGainWarning, stacklevel=2)
    return done


def _measured(
    done: Compressed, dense: nn.Module, judge: Evaluate | None, latency: bool
) -> Compressed:
    """The result with both networks measured.

    Raises:
        CompressionInterrupted: it failed, or was interrupted; the error carries the result.
    """
    try:
        before, after = (
            measure(
                network, done.moments.example, evaluate=judge, latency=latency, seconds=_TIMED_S
            )
            for network in (dense, done.model)
        )
    except (Exception, KeyboardInterrupt) as error:
        raise CompressionInterrupted(
            "the smaller network is in this error's .compressed, but it was not measured "
            f"({type(error).__name__}{': ' * bool(str(error))}{error})",
            done,
        ) from error
    return replace(done, dense=before, smaller=after)


def _pace(
    dense: nn.Module, smaller: nn.Module, moments: Moments, timings: Timings | None
) -> Pace | None:
    """Both networks measured on the terms of the timings."""
    if timings is None:
        return None
    return pacer_of(dense, moments.example, timings).of(smaller)()


def _moments(
    model: nn.Module,
    batches: Iterable[Any] | Moments,
    how: Mapping[str, Any],
    workspace: str | Path | None,
    progress: bool | None,
) -> Moments:
    """The moments given, or those of the batches."""
    if not isinstance(batches, Moments):
        return calibrate(model, batches, workspace=workspace, progress=progress, **how)
    if [*how.values(), workspace] != [AUTO, None, 0, None]:
        raise InputError(
            "moments already have a metric and a seed, and stay where they are: leave out metric, "
            "outputs, seed and workspace"
        )
    return batches


@contextmanager
def _carried_by_errors(moments: Moments) -> Iterator[None]:
    """Give every error the moments as ``.moments``, so that calibration is not lost."""
    try:
        yield
    except BaseException as error:
        with suppress(AttributeError):
            setattr(error, "moments", moments)  # noqa: B010
        raise


def _check_confidence(confidence: float | None, tolerance: float | None) -> None:
    """Raise ``InputError`` if the confidence is out of range, or there is nothing to be sure of."""
    if confidence is None:
        return
    if tolerance is None:
        raise InputError("confidence= goes with tolerance=, whose loss it is about")
    checked_confidence(confidence)


def _goal(
    keep: float | None,
    budget: Budget | None,
    tolerance: float | None,
    of: Scope,
    evaluate: Evaluate | None,
) -> Budget | float:
    """The budget or the tolerance, checked before anything costly is done."""
    if sum(given is not None for given in (keep, budget, tolerance)) != 1:
        raise InputError("give exactly one of keep, budget and tolerance")
    if keep is not None:
        check_kind("keep", keep, Real)
        return Budget(params=float(keep), of=of)
    if of != "model":
        raise InputError("of= goes with keep=; a budget has its own of, a tolerance needs none")
    if budget is not None:
        check_kind("budget", budget, Budget)
        return budget
    if tolerance is None or evaluate is None or not tolerance >= 0:
        raise InputError("a tolerance must be zero or more, and needs evaluate= to get the score")
    return float(tolerance)
