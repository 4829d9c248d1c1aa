"""The metric for G of a language model: true next tokens, sampled tokens, or logits.

The small Llama `stories260k` is calibrated on one half of its stories and evaluated on the other.
SmolLM2-135M uses the half of WikiText-2's validation text that the benchmark of language models
does not report on: its beginning calibrates, and windows spread over the rest evaluate.

Rows already in the results are not measured again; to do so, delete them or the file.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import nn

import eckart
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results, Row
from benchmarks.subjects.language import (
    CALIBRATION,
    KEEPS,
    STORIES,
    WIKITEXT,
    Batch,
    halves,
    smollm2,
    stories260k,
    text,
)
from eckart.text import windows

METRICS = {"next_token": "true next tokens", "fisher": "sampled tokens", "logits": "logits"}
EVALUATION = (64, 512)  # sequences, tokens
SPREAD = 16  # windows of SmolLM2's evaluation


class Subject(NamedTuple):
    """A network, its calibration data, and the way it is judged."""

    model: nn.Module
    calibration: list[Batch]
    evaluate: Callable[[nn.Module], eckart.Score]


def small_llama(data: Path | None) -> Subject:
    """A quarter of a million parameters, trained on stories."""
    model, tokenizer = stories260k(data)
    before, after = halves(text(STORIES, data))
    calibration = windows(tokenizer, before, *CALIBRATION, batch=4)
    held_out = windows(tokenizer, after, *EVALUATION, batch=8)
    return Subject(model, calibration, eckart.perplexity(held_out))


def smollm2_subject(data: Path | None) -> Subject:
    """The benchmark's network and calibration, but with other evaluation windows."""
    model, tokenizer = smollm2()
    half, _ = halves(text(WIKITEXT, data))
    calibration = windows(tokenizer, half, *CALIBRATION)
    rest = half[len(half) // 4 :]  # the calibration windows end well before
    size = len(rest) // SPREAD
    pieces = [rest[at * size : (at + 1) * size] for at in range(SPREAD)]
    spread = [batch for piece in pieces for batch in windows(tokenizer, piece, 1, CALIBRATION[1])]
    return Subject(model, calibration, eckart.perplexity(spread))


SUBJECTS: dict[str, tuple[Callable[[Path | None], Subject], tuple[bool, ...]]] = {
    "stories260k": (small_llama, (False, True)),
    "SmolLM2": (smollm2_subject, (False,)),
}
"""How each is made, and whether its options are rescaled."""


def measure_network(network: str, data: Path | None, results: Results) -> None:
    """Perplexity, beside the dense network's, by metric, rescaling and fraction kept."""
    make, rescalings = SUBJECTS[network]
    wanted = [m for m in METRICS if not results.has(network=network, metric=m)]
    if not wanted:
        return
    model, calibration, evaluate = make(data)
    dense = evaluate(model)
    for metric in wanted:
        moments = eckart.calibrate(model, calibration, metric=metric)
        rows: list[Row] = []
        for rescale in rescalings:
            curves = eckart.curves(model, moments, methods=["pivoted_svd"], rescale=rescale)
            for keep in KEEPS:
                plan = eckart.allocate(curves, eckart.Budget(params=keep, of="sites"))
                score = evaluate(eckart.apply(model, plan, moments))
                rows.append(
                    {
                        "network": network,
                        "metric": metric,
                        "rescale": rescale,
                        "keep": keep,
                        "dense": dense.value,
                        "perplexity": score.value,
                        "tokens": score.n,
                    }
                )
        results.add(*rows)


def measure(
    output: Path, data: Path | None = None, *, networks: Sequence[str] = tuple(SUBJECTS)
) -> None:
    """Measure the rows that the results do not have yet."""
    results = Results(output)
    for network in networks:
        measure_network(network, data, results)


MEASUREMENT = Measurement(measure, choices={"networks": tuple(SUBJECTS)}, threads=2)
