"""The whole chain. Start reading here.

    model, batches ─ calibrate ─▶ Moments ─ curves ─▶ Curves ─ allocate(budget) ─▶ Plan
    smaller model ◀─ apply ─ Plan          measure(model) ─▶ Measurement

Calibrate once; every budget after that is one plan, one ``apply`` and one evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from torch import nn
from typing_extensions import Unpack

from eckart.errors import BudgetError, FrontierInterrupted, InputError
from eckart.methods import Cache, fitting_methods
from eckart.metrics import Probe
from eckart.moments import Moments
from eckart.network.survey import matching, survey
from eckart.network.wrappers import trainable, unwrapped
from eckart.records import (
    Budget,
    Curves,
    Frontier,
    Measurement,
    Offer,
    Plan,
    Point,
    Score,
    ToleranceSearch,
)
from eckart.records.offer import AUTO, Allowed
from eckart.records.plans import Scope
from eckart.running.progress import tracked
from eckart.scores import Evaluate
from eckart.search.plan import Search, fitted
from eckart.stages.allocate import Allocator, allocate
from eckart.stages.apply import applied
from eckart.stages.calibrate import calibrate
from eckart.stages.curves import curves
from eckart.stages.measure import measure
from eckart.storage.writing import writable

KEEPS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)


@dataclass(frozen=True, kw_only=True)
class Compressed:
    """The result of ``compress``.

    Attributes:
        model: the smaller network; the dense one is unchanged.
        plan: what was done to each layer, and why the others stayed dense.
        moments: reusable for any other budget.
        curves: every option that was considered.
        before, after: scores of the dense and the smaller network; None if not evaluated.
        evaluations: number of networks that were evaluated to meet a tolerance.
        search: the evaluations by which the plan was chosen, if a tolerance was given.
    """

    model: nn.Module
    plan: Plan
    moments: Moments
    curves: Curves
    before: Score | None = None
    after: Score | None = None
    evaluations: int = 0
    search: ToleranceSearch | None = None

    def __str__(self) -> str:
        if self.before is None or self.after is None:
            return str(self.plan)
        error = self.after.drop_error(self.before)
        spread = f" ± {error:.4f}" if isfinite(error) else ""
        change = f"a {self.after.change_from(self.before)} of"
        by = abs(self.after.value - self.before.value)
        return f"{self.plan}; score {self.after.value:.4f}, {change} {by:.4f}{spread}"


def compress(
    model: nn.Module,
    batches: Iterable[Any] | Moments,
    *,
    keep: float | None = None,
    budget: Budget | None = None,
    tolerance: float | None = None,
    of: Scope = "model",
    evaluate: Evaluate | None = None,
    report: Evaluate | None = None,
    offer: Offer | None = None,
    metric: str | Probe | None = AUTO,
    seed: int = 0,
    workspace: str | Path | None = None,
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
        of: what ``keep`` is a fraction of: the ``"model"`` or the ``"sites"``.
        evaluate: ``evaluate(model)`` returns a number, where higher is better, or a ``Score``. It
            decides under a tolerance.
        report: scores both networks at the end. Its data should not have been used to choose
            anything. Without a tolerance, None uses ``evaluate`` for this.
        offer: what may be done to which layers, and how losses are predicted.
        metric: see ``calibrate``.
        seed: of the probes.
        workspace: a folder for networks whose moments do not fit in memory, see ``calibrate``.
            Finished moments and decompositions stay in it. After a run was killed, the same call
            continues it, and another budget costs seconds.
        progress: whether to show bars; None shows them on a terminal.
        **allowed: fields of ``Offer``, instead of ``offer``: ``dense=["fc"]``.

    Raises:
        InputError: an argument or the data cannot be used; names are checked before calibration.
        NonFiniteError: weights, activations or gradients are NaN or infinite; names the layer.
        BudgetError: the budget is out of reach; says what is reachable.

    Example:
        >>> import torch, eckart
        >>> network = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Linear(30, 4))
        >>> smaller = eckart.compress(network, [torch.randn(64, 20)], keep=0.6)
        >>> smaller.plan.costs["params"] <= 0.6 * smaller.plan.totals["params"]
        True
    """
    model = trainable(unwrapped(model))
    goal = _goal(keep, budget, tolerance, of, evaluate)
    offer = Offer.of(offer, allowed)
    fitting_methods(model, offer.methods)  # an unknown name fails before anything costly is done
    matching(offer.dense, [name for part in survey(model) for name in part])
    if not isinstance(batches, Moments):
        moments = calibrate(
            model, batches, metric=metric, seed=seed, workspace=workspace, progress=progress
        )
    elif (metric, seed, workspace) == (AUTO, 0, None):
        moments = batches
    else:
        raise InputError(
            "moments already have a metric and a seed, and stay where they are: leave out metric, "
            "seed and workspace"
        )
    options = curves(model, moments, offer=offer, progress=progress)
    cache = Cache.beside(moments, options.states)
    search = Search(model, moments, evaluate, goal, cache)
    found, options = fitted(model, moments, options, search.choose, cache)
    judge = report or (evaluate if tolerance is None else None)
    before, after = (Score.of(judge(m)) if judge else None for m in (model, found.model))
    return Compressed(
        model=found.model,
        plan=found.plan,
        moments=moments,
        curves=options,
        before=before,
        after=after,
        evaluations=search.evaluations,
        search=search.last,
    )


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
        return Budget(params=float(keep), of=of)
    if of != "model":
        raise InputError("of= goes with keep=; a budget has its own of, a tolerance needs none")
    if budget is not None:
        return budget
    if tolerance is None or evaluate is None or not tolerance >= 0:
        raise InputError("a tolerance must be zero or more, and needs evaluate= to get the score")
    return float(tolerance)


def frontier(
    model: nn.Module,
    moments: Moments,
    evaluate: Evaluate | None,
    *,
    keeps: Sequence[float] = KEEPS,
    cost: str = "params",
    of: Scope = "model",
    options: Curves | None = None,
    baselines: bool = True,
    example_inputs: Any = None,
    latency: bool = False,
    path: str | Path | None = None,
    progress: bool | None = None,
) -> Frontier:
    """Accuracy against cost: plan, build and measure a network at each of several kept fractions.

    Args:
        model: the dense network.
        moments: from ``calibrate``.
        evaluate: as for ``compress``; None leaves scores out.
        keeps: fractions of ``cost`` to keep.
        cost: ``"params"``, ``"macs"``, ``"bytes"`` or a cost of your own.
        of: what ``keeps`` are fractions of: the ``"model"`` or the ``"sites"``.
        options: curves to choose from; None predicts them with the default methods.
        baselines: also plain SVD with one fraction for all these layers, if it can reach it.
        example_inputs: for costs and latency; None uses the example in the moments.
        latency: whether to time each network.
        path: JSON file, written after each point. Its points are not computed again if the plan and
            the dense score are the same. Its other points stay in it.
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
    if path is not None and not Path(path).parent.is_dir():
        raise InputError(f"the folder of {path} does not exist; make it first")
    if path is not None and writable(path).exists():
        Frontier.load(path)  # a damaged file fails now, not after the first measurement
    options = options or curves(model, moments, progress=progress)
    budgets = {float(keep): Budget(costs={cost: float(keep)}, of=of) for keep in keeps}
    least = min(budgets.items())[1]
    caches = {"eckart": Cache.beside(moments, options.states)}
    _, options = fitted(
        model, moments, options, lambda offered: allocate(offered, least), caches["eckart"]
    )
    families = {"eckart": Allocator.over(options, [cost], of).plan}
    if baselines:
        asked = set(moments.specs) - set(options.specs)  # layers that stay dense
        plain = curves(model, moments, methods=["svd"], dense=asked, progress=False)
        families["uniform svd"] = Allocator.over(plain, [cost], of).uniform
        caches["uniform svd"] = Cache.beside(moments, plain.states)
    plans = {
        (keep, label): plan
        for label, choose in families.items()
        for keep, budget in budgets.items()
        if (plan := _reachable(choose, budget, label)) is not None
    }
    example = moments.example if example_inputs is None else example_inputs

    def measured(network: nn.Module) -> Measurement:
        return measure(network, example, evaluate=evaluate, latency=latency)

    dense = measured(model)
    empty = Frontier(dense=dense, points=(), cost=cost, fingerprint=moments.fingerprint)
    done = {} if path is None else empty.resumed(path, plans)

    def in_order(keys: Iterable[tuple[float, str]]) -> Frontier:
        return replace(empty, points=tuple(done[key] for key in keys if key in done))

    try:
        for key, plan in tracked(plans.items(), "measuring", progress, len(plans)):
            if key not in done:
                smaller = applied(model, plan, moments, caches[key[1]])
                done[key] = Point.of(*key, smaller.plan, measured(smaller.model), dense)
            if path is not None:
                in_order([*plans, *(key for key in done if key not in plans)]).save(path)
    except (Exception, KeyboardInterrupt) as error:
        if not done:
            raise
        found = in_order(plans)
        raise FrontierInterrupted(
            f"stopped after {len(found.points)} of {len(plans)} networks, which are in this "
            f"error's .frontier ({type(error).__name__}{': ' * bool(str(error))}{error})",
            found,
        ) from error
    return in_order(plans)


def _reachable(choose: Callable[[Budget], Plan], budget: Budget, label: str) -> Plan | None:
    """The plan for a budget; None if it is out of reach of a baseline."""
    try:
        return choose(budget)
    except BudgetError:
        if label == "eckart":
            raise
        return None
