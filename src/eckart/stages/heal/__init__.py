"""Heal a smaller network: make it better at the same size, judged on held-out data."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eckart.errors import HealingInterrupted, InputError, MismatchError
from eckart.moments import Moments
from eckart.network.identity import check_fingerprint, check_numbers, fingerprint
from eckart.network.plan_attribute import plan_of
from eckart.network.twins import opened
from eckart.network.wrappers import network_in
from eckart.records import Healed, Plan
from eckart.running.batches import call, inputs_of, moved
from eckart.running.hooks import untouched
from eckart.scores import Evaluate
from eckart.stages.heal.closeness import closeness as closeness_to
from eckart.stages.heal.correct import Correct
from eckart.stages.heal.distil import Distil
from eckart.stages.heal.distil.objectives import TaskLoss
from eckart.stages.heal.judge import Judge
from eckart.stages.heal.pairs import compared
from eckart.stages.heal.parts import Parts, parted
from eckart.stages.heal.refit import Refit
from eckart.stages.heal.treatments import (
    TREATMENTS,
    Case,
    Treatment,
    Verdict,
    register_treatment,
    treatments_named,
)

register_treatment(Correct())
register_treatment(Refit())
register_treatment(Distil())
register_treatment(Distil("finetune", TaskLoss()))

__all__ = ["TREATMENTS", "Case", "Treatment", "Verdict", "heal", "register_treatment"]

DEFAULT_TREATMENTS = ("correct", "refit")


def heal(
    compressed: nn.Module,
    teacher: nn.Module,
    batches: Iterable[Any],
    *,
    moments: Moments | None = None,
    plan: Plan | None = None,
    treatments: Sequence[str] = DEFAULT_TREATMENTS,
    steps: int | None = None,
    evaluate: Evaluate | None = None,
    held_out: float = 0.2,
    checkpoint: str | Path | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> Healed:
    """Make a compressed network better without making it larger.

    The treatments are tried in turn, each on the best network so far. A new network replaces it
    only if it is better on held-out data, and by more than the paired standard error where scores
    have samples. So the result is never worse there than the network handed in. Ctrl-C ends the
    treatment and returns the best network so far.

    Args:
        compressed: the smaller network, from ``apply`` or ``compress``; it is not changed. Wrappers
            by ``torch.compile`` and ``DataParallel`` around either network are left out.
        teacher: the dense network that it was made from; it is not changed either.
        batches: a list or loader that can be read several times, as for ``calibrate``, without
            random augmentation. Labels are used only by ``"finetune"``.
        moments: moments of the teacher; ``"refit"`` relies on them where data are few.
        plan: what was done to the teacher; None means the plan that ``compressed`` carries.
        treatments: names of the treatments, in order.
        steps: number of optimiser steps, for treatments that make them.
        evaluate: ``evaluate(model)`` scores a network. None measures how close its outputs are to
            the teacher's on the held-out examples: ``KL`` of the softmax at a temperature, or half
            the squared difference relative to the teacher's; see ``closeness``.
        held_out: fraction of the examples to hold out, at most 4,096 examples.
        checkpoint: folder for the files that let a long treatment resume.
        seed: seed of everything random.
        progress: show bars; None shows them on a terminal.

    Returns:
        The best network, in the mode of ``compressed``, and the log; ``compressed`` itself if
        nothing helped.

    Raises:
        InputError: the data can be read only once, are empty or hold NaN; the evaluation returns
            NaN; a treatment is unknown; the teacher's outputs have another shape.
        MismatchError: the moments or the plan belong to another network.
        HealingInterrupted: an error, such as a full disk, came after something better than
            ``compressed`` was found; its ``.healed`` holds that. An earlier error is raised itself.

    Cost: that of the treatments, and one pass of both networks over the held-out part for each
    network that is judged.

    Example:
        >>> import torch, eckart
        >>> network = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Linear(30, 4))
        >>> data = [torch.randn(64, 20)]
        >>> smaller = eckart.compress(network, data, keep=0.6)
        >>> healed = eckart.heal(smaller.model, network, data, moments=smaller.moments)
        >>> [step.treatment for step in healed.log][0]
        'start'
    """
    chosen = treatments_named(treatments)
    compressed, teacher = network_in(compressed), network_in(teacher)
    plan = plan_of(compressed) if plan is None else plan
    if steps is not None and steps < 1:
        raise InputError(f"steps={steps}: give at least one, or None")
    if held_out == 0 and evaluate is None:
        raise InputError("nothing is held out to judge by: give evaluate=, or held_out above 0")
    with untouched(teacher):
        _check_belongs(compressed, teacher, moments, plan)
        teacher = opened(teacher)
        parts = parted(batches, compressed, held_out)
        _check_outputs(compressed, teacher, parts)
        judge = Judge(compressed, evaluate or closeness_to(teacher, parts.held_out), parts.held_out)
        data = (parts.fitting, parts.held_out, moments, plan, steps)
        folder = None if checkpoint is None else Path(checkpoint)
        talk = (folder, seed, progress, judge.offer, judge.remark)
        try:
            judge.begin()
            for treatment in chosen:
                student = copy.deepcopy(judge.model).eval()
                _tried(treatment, Case(student, teacher, *data, *talk), judge)
        except KeyboardInterrupt:
            judge.remark("interrupted")
        except Exception as error:
            if judge.model is compressed:
                raise
            raise _interrupted(error, judge, compressed) from error
    return Healed(_as_before(judge.model, compressed), tuple(judge.log))


def _interrupted(error: Exception, judge: Judge, compressed: nn.Module) -> HealingInterrupted:
    """The error to raise after a failure, with the best network so far."""
    what = f"{type(error).__name__}: {error}"
    judge.remark(f"failed: {what}")
    return HealingInterrupted(
        f"healing failed in {judge.treatment!r} ({what}); the best network so far is in this "
        "error's .healed",
        Healed(_as_before(judge.model, compressed), tuple(judge.log)),
    )


def _tried(treatment: Treatment, case: Case, judge: Judge) -> None:
    """Run a treatment, or log why it cannot run."""
    judge.treatment = treatment.name
    reason = treatment.needs(case)
    if reason is None:
        treatment.treat(case)
    else:
        judge.remark(f"skipped: {reason}")


def _check_belongs(
    compressed: nn.Module, teacher: nn.Module, moments: Moments | None, plan: Plan | None
) -> None:
    """Check for weights, for moments and a plan of this teacher, and for the plan's layers."""
    for name, parameter in [*compressed.named_parameters(), *teacher.named_parameters()]:
        check_numbers(name, parameter)
    found = fingerprint(teacher) if moments is not None or plan is not None else ""
    if moments is not None:
        check_fingerprint(found, moments.fingerprint, "these moments")
    if plan is None:
        return
    check_fingerprint(found, plan.fingerprint, "this plan")
    known = dict(compressed.named_modules())
    missing = sorted(set(plan.choices) - set(known))
    if missing:
        raise MismatchError(f"the plan names layers that the network lacks: {', '.join(missing)}")


@torch.no_grad()
def _check_outputs(compressed: nn.Module, teacher: nn.Module, parts: Parts) -> None:
    """Check that both networks run on the data and give outputs of the same shape."""
    batch = next(iter(parts.held_out or parts.fitting))
    inputs = inputs_of(batch)
    with untouched(compressed):
        outputs = call(compressed, inputs)
    try:
        targets = call(teacher, moved(inputs, teacher))
    except RuntimeError as error:
        raise InputError(
            f"the teacher does not run on the data ({error!s:.160}): pass the dense network that "
            "the smaller one was made from"
        ) from error
    compared(outputs, targets, batch)


def _as_before(model: nn.Module, like: nn.Module) -> nn.Module:
    """The network with the modes and the ``requires_grad`` flags of another."""
    modes = {name: module.training for name, module in like.named_modules()}
    for name, module in model.named_modules():
        module.training = modes.get(name, like.training)
    trained = {name: parameter.requires_grad for name, parameter in like.named_parameters()}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained.get(name, any(trained.values())))
    return model
