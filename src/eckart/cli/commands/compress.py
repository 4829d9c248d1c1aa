"""``eckart compress``: one smaller network for one budget or tolerance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import eckart
from eckart.cli.options.grouping import grouped
from eckart.cli.options.healing import HealingOptions
from eckart.cli.options.parsing import make_budget, parse_budget, usage_error
from eckart.cli.options.planning import MomentsOptions, PlanOptions, gather
from eckart.cli.options.ranks import Ranks
from eckart.cli.options.shared import (
    CalibrationOptions,
    EvaluationOptions,
    ImageOptions,
    ModelOptions,
    RunOptions,
    SelectionOptions,
    TextOptions,
    judge,
    option,
)
from eckart.cli.options.timing import TimingOptions
from eckart.cli.options.workers import WorkerOptions
from eckart.cli.shown.channels import bound_lines, removal_tables
from eckart.cli.shown.output import Result, folder_to_write, say
from eckart.cli.shown.tables import before_after_table, plan_table
from eckart.costs import COSTS
from eckart.records import Budget, Healed, Measurement
from eckart.records.budgets import MS, Scope
from eckart.records.results import no_gain

if TYPE_CHECKING:
    from eckart.pipeline import Compressed


@dataclass(frozen=True)
class GoalOptions:
    """How small, or how fast: one of five."""

    keep: Annotated[float | None, option("Goal", "Fraction of the parameters to keep.")] = None
    bytes: Annotated[
        float | None, option("Goal", "Fraction of the bytes to keep, by codes of few bits too.")
    ] = None
    ms: Annotated[
        float | None,
        option("Goal", "Fraction of the time to keep, measured in --runtime; above 1, ms."),
    ] = None
    budget: Annotated[
        str | None, option("Goal", "Limits on several costs: params=0.5,macs=0.6 or macs=20M.")
    ] = None
    tolerance: Annotated[
        float | None,
        option("Goal", "Score that may be lost: 0.005 is half a point of accuracy.", min=0),
    ] = None
    confidence: Annotated[
        float | None,
        option("Goal", "Chance that no more is lost on further data: 0.95. Uses fewer images."),
    ] = None

    def wanted(self, of: Scope) -> Budget | float:
        """The budget, or the tolerance.

        Raises:
            typer.BadParameter: no goal is given, or several, or one that cannot be read.
        """
        goals = (self.keep, self.bytes, self.ms, self.budget, self.tolerance)
        if sum(goal is not None for goal in goals) != 1:
            names = "--keep / --bytes / --ms / --budget / --tolerance"
            raise usage_error(names, "give exactly one of them")
        if self.confidence is not None and self.tolerance is None:
            raise usage_error("--confidence", "goes with --tolerance")
        if self.confidence is not None and not 0 < self.confidence < 1:
            raise usage_error("--confidence", f"{self.confidence} is not between 0 and 1")
        if self.keep is not None:
            return make_budget("--keep", {"params": self.keep}, of)
        if self.bytes is not None:
            return make_budget("--bytes", {"bytes": self.bytes}, of)
        if self.ms is not None:
            return make_budget("--ms", {MS: self.ms}, of)
        if self.budget is not None:
            return parse_budget(self.budget, of, [*COSTS, MS])
        return self.tolerance or 0.0


@grouped
def compress_command(
    model: ModelOptions,
    goal: GoalOptions,
    plan: PlanOptions,
    images: ImageOptions,
    text: TextOptions,
    calibration: CalibrationOptions,
    selection: SelectionOptions,
    evaluation: EvaluationOptions,
    moments: MomentsOptions,
    healing: HealingOptions,
    timing: TimingOptions,
    work: WorkerOptions,
    run: RunOptions,
    *,
    out: Annotated[
        Path | None, option("Run", "Folder to save the smaller network in.", "--out", "--output")
    ] = None,
    latency: Annotated[bool, option("Run", "Time one example.")] = True,
) -> Result | None:
    """Make a network smaller, and measure it before and after where there are data."""
    wanted = goal.wanted(plan.scope)
    limits = wanted.limits if isinstance(wanted, Budget) else ["params"]
    offer = plan.offer.under(limits)
    for group in (model, moments, healing, timing):
        group.check()
    folder_to_write(out)
    data = images.open(text, model)
    source = moments.source(data, calibration)
    healed_on = healing.take(data, calibration)
    goals: dict[str, Any] = {"budget": wanted}
    if not isinstance(wanted, Budget):
        judged = judge(selection.take(data, calibration))
        goals = {"tolerance": wanted, "confidence": goal.confidence, "evaluate": judged}
    evaluate = judge(evaluation.take(data)) if evaluation.named(data) else None
    run.start()
    network = model.load()
    ranks = Ranks.here()
    with ranks.joined():
        if not isinstance(source, eckart.Moments):
            source = ranks.share(source)
        gathered = gather(network, source, images.seed, moments.workspace, calibration.chosen)
    if not ranks.leads:
        return None
    goals["timings"] = timing.needed(limits, network, gathered, plan.activations)
    goals |= {"workers": work.given, "progress": True}
    done = eckart.compress(network, gathered, offer=offer, latency=False, **goals)
    healed = None
    if healed_on is not None:
        if out is not None:  # healing may fail, and what there is must not be lost
            eckart.save(done.model, out, model.tokenizer())
        healed = healing.healed(done.model, network, healed_on, gathered, images.seed)
        done = replace(done, model=healed.model)
    if out is not None:
        eckart.save(done.model, out, model.tokenizer())
    try:
        before, after = (
            timing.measured(net, gathered.example, evaluate, latency)
            for net in (network, done.model)
        )
    except BaseException:
        if out is not None:
            say(f"eckart: the smaller network is saved in {out}, but it was not measured")
        raise
    if worse := no_gain(before, after):
        say(f"eckart: warning: the smaller network {worse}")
    return _result(model.model, done, healed, before, after, out)


def _result(
    name: str,
    done: Compressed,
    healed: Healed | None,
    before: Measurement,
    after: Measurement,
    out: Path | None,
) -> Result:
    document = {
        "model": name,
        "before": before.as_json(),
        "after": after.as_json(),
        "plan": done.plan.as_json(),
        "evaluations": done.evaluations,
        "search": None if done.search is None else done.search.as_json(),
        "healing": None if healed is None else [step.as_json() for step in healed.log],
        "out": None if out is None else str(out),
    }
    saved = [] if out is None else [f"saved in {out}"]
    healing = [] if healed is None else [str(healed), healed.table()]
    plan, specs = done.plan, done.moments.specs
    tables = [plan_table(plan, specs), *removal_tables(plan, specs)]
    searched = [] if done.search is None else [f"search: {done.search}"]
    lines = [str(plan), *bound_lines(plan), *searched, *healing, *saved]
    return Result(document, [*tables, before_after_table(before, after), *lines])
