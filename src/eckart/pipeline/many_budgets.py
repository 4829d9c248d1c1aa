"""One network for each of several budgets: the frontier of accuracy and cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from eckart.errors import BudgetError, FrontierInterrupted, InputError
from eckart.methods import Cache
from eckart.moments import Moments
from eckart.network.wrappers import network_in
from eckart.pipeline.points import Key, check_untimed, points_of
from eckart.records import Budget, Curves, Frontier, Measurement, Plan, Point
from eckart.records.budgets import MS, Scope
from eckart.records.timings import Timings
from eckart.running.batches import batch_of
from eckart.scores import Evaluate
from eckart.search.plan import Search, fitted
from eckart.search.refined import refined_twice
from eckart.search.timed import check_timings, timed_network
from eckart.stages.allocate import Allocator, allocate
from eckart.stages.apply import applied, refined
from eckart.stages.curves import curves
from eckart.stages.measure import measure
from eckart.storage.writing import writable
from eckart.tasks import Workers, checked_workers

KEEPS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)


def frontier(
    model: nn.Module,
    moments: Moments,
    evaluate: Evaluate | None,
    *,
    keeps: Sequence[float] = KEEPS,
    cost: str = "params",
    timings: Timings | None = None,
    of: Scope = "model",
    options: Curves | None = None,
    baselines: bool = True,
    example_inputs: Any = None,
    latency: bool = False,
    path: str | Path | None = None,
    workers: Workers = 1,
    progress: bool | None = None,
) -> Frontier:
    """Accuracy against cost: plan, build and measure a network at each of several kept fractions.

    Args:
        model: the dense network. Wrappers by ``torch.compile`` and ``DataParallel`` are left out.
        moments: from ``calibrate``.
        evaluate: as for ``compress``; None leaves scores out.
        keeps: fractions of ``cost`` to keep.
        cost: ``"params"``, ``"macs"``, ``"bytes"``, ``"ms"`` or a cost of your own.
        timings: from ``eckart.profile``, for milliseconds: each network is then within its fraction
            as measured. All are timed on the terms of the timings.
        of: what ``keeps`` are fractions of: ``"model"``, ``"reached"`` or ``"sites"``, see
            ``Budget``.
        options: curves to choose from; None predicts them with the default methods.
        baselines: also plain SVD with one fraction for all these layers, if it can reach it.
        example_inputs: for costs and latency; None uses the example in the moments.
        latency: whether to time each network.
        path: JSON file, written after each point. Its points are not computed again if the plan and
            the dense score are the same. Its other points stay in it.
        workers: who predicts and measures, see ``curves``. Every point is a task. Local processes
            are copies of this one, so ``evaluate`` may be anything; a Ray cluster is sent networks
            and ``evaluate``, so these must pickle. Networks that are timed have to be alone.
        progress: whether to show a bar; None shows it on a terminal.

    Raises:
        BudgetError: a fraction is out of reach; raised before anything is measured.
        CheckpointError, MismatchError: the file at ``path`` is damaged or of another network.
        WriteError: ``path`` cannot be written; raised before anything is measured.
        FrontierInterrupted: Ctrl-C, an error in ``evaluate``, or a full disk, after the first
            point. Its ``.frontier`` has the points, and so has the file if it could be written.
            The same call continues.
    """
    if not keeps:
        raise InputError("keeps is empty: give at least one fraction")
    if cost == MS:
        check_timings(Budget(ms=1.0), timings)
    if path is not None and not Path(path).parent.is_dir():
        raise InputError(f"the folder of {path} does not exist; make it first")
    if path is not None and writable(path).exists():
        Frontier.load(path)  # a damaged file fails now, not after the first measurement
    model = network_in(model)
    workers = checked_workers(workers, model)
    check_untimed(workers, latency or cost == MS)
    options = options or curves(model, moments, limits=[cost], workers=workers, progress=progress)
    options = options if timings is None else options.timed(timings)
    budgets = {float(keep): Budget(costs={cost: float(keep)}, of=of) for keep in keeps}
    least = min(budgets.items())[1]
    caches = {"eckart": Cache.beside(moments, options.states)}
    _, options = fitted(
        model, moments, options, lambda offered: allocate(offered, least), caches["eckart"]
    )
    table = Allocator.over(options, [cost], of)

    def chosen(offered: Curves, budget: Budget) -> Plan:
        return (table if offered is options else Allocator.of(offered, budget)).plan(budget)

    def refine(plan: Plan) -> Plan:
        return refined(model, plan, moments, caches["eckart"])

    def twice(budget: Budget) -> Plan:
        return refined_twice(options, lambda offered: chosen(offered, budget), refine)

    def timed(table: Timings, budget: Budget) -> Plan:
        search = Search(model, moments, None, budget, caches["eckart"])
        return timed_network(search, budget, options, table).applied.plan

    families = {"eckart": twice if timings is None or cost != MS else partial(timed, timings)}
    if baselines:
        asked = set(moments.specs) - set(options.specs)  # layers that stay dense
        plain = curves(model, moments, methods=["svd"], dense=asked, progress=False)
        plain = plain if timings is None else plain.timed(timings)
        families["uniform svd"] = Allocator.over(plain, [cost], of).uniform
        caches["uniform svd"] = Cache.beside(moments, plain.states)
    plans = {
        (keep, label): plan
        for label, choose in families.items()
        for keep, budget in budgets.items()
        if (plan := _reachable(choose, budget, label)) is not None
    }
    on = _terms(timings, moments.example if example_inputs is None else example_inputs)

    def measured(network: nn.Module) -> Measurement:
        return measure(network, evaluate=evaluate, latency=latency or cost == MS, **on)

    dense = measured(model)
    empty = Frontier(dense=dense, points=(), cost=cost, fingerprint=moments.fingerprint)
    done = {} if path is None else empty.resumed(path, plans)

    def in_order(keys: Iterable[tuple[float, str]]) -> Frontier:
        return replace(empty, points=tuple(done[key] for key in keys if key in done))

    def point(key: Key) -> Point:
        smaller = applied(model, plans[key], moments, caches[key[1]])
        return Point.of(*key, smaller.plan, measured(smaller.model), dense)

    def sent(key: Key) -> Callable[[], Point]:
        smaller = applied(model, plans[key], moments, caches[key[1]])
        return partial(_point, key, smaller.plan, smaller.model, measured, dense)

    def saved() -> None:
        if path is not None:
            in_order([*plans, *(key for key in done if key not in plans)]).save(path)

    try:
        if done:
            saved()
        missing = [key for key in plans if key not in done]
        with points_of(missing, point, workers, progress, sent) as results:
            for key, found in results:
                done[key] = found
                saved()
    except (Exception, KeyboardInterrupt) as error:
        if not done:
            raise
        so_far = in_order(plans)
        raise FrontierInterrupted(
            f"stopped after {len(so_far.points)} of {len(plans)} networks, which are in this "
            f"error's .frontier ({type(error).__name__}{': ' * bool(str(error))}{error})",
            so_far,
        ) from error
    return in_order(plans)


def _point(
    key: Key,
    plan: Plan,
    network: nn.Module,
    measured: Callable[[nn.Module], Measurement],
    dense: Measurement,
) -> Point:
    return Point.of(*key, plan, measured(network), dense)


def _terms(timings: Timings | None, example: Any) -> dict[str, Any]:
    """On what, where and with how many threads networks are timed."""
    if timings is None:
        return {"example_inputs": example}
    terms = timings.terms
    inputs = batch_of(example, terms.batch)
    return {"example_inputs": inputs, "runtime": terms.runtime, "threads": terms.threads}


def _reachable(choose: Callable[[Budget], Plan], budget: Budget, label: str) -> Plan | None:
    """The plan for a budget; None if it is out of reach of a baseline."""
    try:
        return choose(budget)
    except BudgetError:
        if label == "eckart":
            raise
        return None
