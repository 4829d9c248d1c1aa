"""all-MiniLM-L6-v2 in few bits, tables included: Spearman's correlation on STS-B's dev split.

Widths are allocated within a fraction of all bytes, without fine-tuning. Rows already in the
results are not measured again; to do so, delete them or the file.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import eckart
from benchmarks.language.judge import Judge
from benchmarks.language.sentences import (
    CALIBRATION,
    HELD_OUT,
    calibration_sentences,
    encoded,
    scored_pairs,
    unlabelled,
)
from benchmarks.measuring.clocks import timed
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results, Row
from benchmarks.subjects.language import minilm

LIMITS = (0.25, 0.125, 0.1)


def rows_of(plan: eckart.Plan, total: int) -> Row:
    """What a plan does: bytes, predicted loss, and how many layers have each width in codes."""
    widths = [bits for choice in plan.choices.values() for bits in choice.form.bits]
    return {
        "bytes": plan.costs["bytes"] / total,
        "predicted": plan.loss,
        "widths": {str(bits): widths.count(bits) for bits in sorted(set(widths))},
    }


def measure(output: Path, data: Path | None = None, *, limits: Sequence[float] = LIMITS) -> None:
    """Measure the rows that the results do not have yet."""
    results = Results(output)
    model, tokenizer = minilm()
    held_out = encoded(tokenizer, unlabelled(data, CALIBRATION, HELD_OUT))
    judge = Judge(*scored_pairs(tokenizer, data), held_out, model)
    if not results.has(method="dense"):
        results.add({"method": "dense", **judge.row(model)})
    batches = encoded(tokenizer, calibration_sentences(data))
    calibrate_s, moments = timed(partial(eckart.calibrate, model, batches, progress=False))
    predict = partial(eckart.curves, model, moments, methods=("rounding",), progress=False)
    curves_s, curves = timed(predict)
    for limit in limits:
        if not results.has(limit=limit):
            plan = eckart.allocate(curves, eckart.Budget(bytes=limit))
            apply_s, network = timed(partial(eckart.apply, model, plan, moments))
            row = rows_of(plan, moments.model_costs["bytes"]) | judge.row(network)
            spent = {"calibrate_s": calibrate_s, "curves_s": curves_s, "apply_s": apply_s}
            results.add({"method": "bits", "limit": limit, **row, **spent})


MEASUREMENT = Measurement(measure, threads=1)
