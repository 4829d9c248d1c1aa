"""Accuracy by bytes: ranks, channels and bits under one budget, without fine-tuning.

Bytes are those of the parameters, scales included, as a fraction of float32.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import nn

import eckart
from benchmarks.measuring.clocks import timed
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results, Row
from benchmarks.peers.ours import FACTORS
from benchmarks.subjects.data import CALIBRATION_IMAGES
from benchmarks.subjects.reference import Reference, reference
from benchmarks.subjects.scoring import accuracy
from eckart.layers import bias_of, filled, piece_of, weight_from
from eckart.linalg import damped
from eckart.linalg.rounding import choose_grid, round_weight, triangle
from eckart.methods import Cache, problem_of
from eckart.search.refined import refined_twice
from eckart.stages.apply import Applied, applied, refined

BYTES = {
    "resnet20": (0.125, 0.094, 0.075, 0.065),
    "resnet32": (0.125, 0.075),
    "lenet5": (0.03, 0.01),
    "mlp": (0.05, 0.03),
    "residual-mlp": (0.05, 0.03),
}
FAMILIES: dict[str, str | tuple[str, ...]] = {
    "ranks, channels and bits": "auto",
    "bits": ("rounding",),
    "ranks": (*FACTORS, "cp"),
}
UNIFORM = (4, 3, 2)
SIDES = {"to nearest": (False, False), "GPTQ": (True, False), "both sides": (True, True)}
_DAMPING = 1e-2


def rounded(on: Reference, moments: eckart.Moments, bits: int, sides: tuple[bool, bool]) -> Row:
    """Every layer at one width, with one scale per row."""
    model, size = nn.Sequential(on.model), 0
    for name in moments.specs:
        layer = on.model.get_submodule(name)
        problem, piece = problem_of(layer, name, moments), piece_of(layer)
        pair = zip((problem.a, problem.g), sides, strict=True)
        a, g = (triangle(damped(moment, _DAMPING)) if used else None for moment, used in pair)
        grid = choose_grid(problem.weight, bits, a=a, g=g).grid
        found = round_weight(problem.weight, grid, a=a, g=g).weight
        new = filled(layer, piece, weight_from(found, piece), bias_of(layer))
        model[0].set_submodule(name, new)
        size += replace(piece, bits=bits).stored_bytes(4) - piece.stored_bytes(4)
    total = moments.model_costs["bytes"]
    return {"bytes": (total + size) / total, "accuracy": accuracy(model[0], *on.test)}


def allocated(on: Reference, moments: eckart.Moments, curves: eckart.Curves, limit: float) -> Row:
    """The best plan within a fraction of the bytes, as ``compress`` finds it."""
    budget, cache = eckart.Budget(bytes=limit), Cache.beside(moments, curves.states)
    plan_s, _ = timed(lambda: eckart.allocate(curves, budget))

    def built() -> Applied:
        plan = refined_twice(
            curves,
            lambda options: eckart.allocate(options, budget),
            lambda plan: refined(on.model, plan, moments, cache),
        )
        return applied(on.model, plan, moments, cache)

    apply_s, done = timed(built)
    plan, choices = done.plan, done.plan.choices.values()
    return {
        "bytes": plan.costs["bytes"] / moments.model_costs["bytes"],
        "accuracy": accuracy(done.model, *on.test),
        "predicted": plan.loss,
        "after rounding": plan.refined_loss,
        "in codes": sum(bool(choice.form.bits) for choice in choices),
        "factored": sum(len(choice.form.pieces) > 1 for choice in choices),
        "narrowed": len(plan.removals),
        "allocate_s": plan_s,
        "apply_s": apply_s,
    }


def measure(
    output: Path,
    data: Path | None = None,
    *,
    networks: Sequence[str] = tuple(BYTES),
    families: Sequence[str] = tuple(FAMILIES),
    calibration: int = CALIBRATION_IMAGES,
    test: int = 0,
) -> None:
    """Measure what is not in the file yet."""
    results = Results(output)
    for network in networks:
        on = reference(network, data, calibration, test)
        moments = eckart.calibrate(on.model, on.batches, progress=False)
        shared = {"network": network, "images": len(on.test[0])}
        if not results.has(network=network, method="dense"):
            results.add(shared | {"method": "dense", "accuracy": accuracy(on.model, *on.test)})
        for method, sides in SIDES.items():
            for bits in UNIFORM:
                label = f"{bits} bits everywhere, {method}"
                if not results.has(network=network, method=label):
                    fresh = reference(network, data, calibration, test)
                    results.add(shared | {"method": label} | rounded(fresh, moments, bits, sides))
        for family in families:
            left = [
                share
                for share in BYTES[network]
                if not results.has(network=network, method=family, limit=share)
            ]
            if not left:
                continue
            predict = partial(eckart.curves, on.model, moments, limits="bytes", progress=False)
            seconds, curves = timed(partial(predict, methods=FAMILIES[family]))
            for share in left:
                row = shared | {"method": family, "limit": share, "curves_s": seconds}
                try:
                    results.add(row | allocated(on, moments, curves, share))
                except eckart.BudgetError as error:
                    results.add(row | {"not reachable": str(error)[:200]})


MEASUREMENT = Measurement(measure, choices={"families": FAMILIES, "networks": BYTES}, threads=1)
