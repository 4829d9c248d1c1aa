"""all-MiniLM-L6-v2 in few bits, embeddings included: Spearman's correlation on STS-B's dev split.

The layers are in codes that a budget of bytes allocates; the tables have one width each, which is
chosen with them. Rows already in the results are not measured again; to do so, delete them or the
file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor, nn

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
from eckart.linalg import damped
from eckart.linalg.rounding import choose_grid, round_weight, stored_bytes, triangle

LIMITS = (0.25, 0.125, 0.1)
WORDS, PLACES = "embeddings.word_embeddings", "embeddings.position_embeddings"
WIDTHS = {WORDS: (3, 4, 5, 6, 8), PLACES: (8,)}
_LEAST = 1e-2  # frequency of a row, relative to the mean: many words are never seen


@dataclass(frozen=True, eq=False)
class Coded:
    """A table in codes with one scale per row.

    Attributes:
        rows: what the codes stand for.
        saved: bytes less than in float32.
        loss: of the rows, as often as they are looked up.
    """

    rows: Tensor
    saved: int
    loss: float


def coded(model: nn.Module, name: str, moments: eckart.Moments, bits: int) -> Coded:
    """Round a table under the moment of its gradients; each row by itself."""
    rows = model.get_parameter(f"{name}.weight").detach().double()
    frequencies, g = moments.mean(name)[0], moments.g(name)[0]
    feedback = triangle(damped(g, 1e-2))
    grid = choose_grid(rows, bits, a=feedback).grid
    found = round_weight(rows, grid, a=feedback).weight
    lost = rows - found.double()
    each = ((lost @ g) * lost).sum(1)
    loss = 0.5 * float(each @ (frequencies + _LEAST * frequencies.mean()))
    saved = rows.numel() * 4 - stored_bytes(len(rows), len(g), bits)
    return Coded(found, saved, loss)


def within(
    model: nn.Module,
    moments: eckart.Moments,
    curves: eckart.Curves,
    tables: Mapping[str, Sequence[Coded]],
    limit: float,
) -> tuple[nn.Module, Row]:
    """The network that is predicted to lose least within a fraction of all bytes."""
    total = moments.model_costs["bytes"]
    (places,) = tables[PLACES]
    best: tuple[float, Coded, eckart.Plan] | None = None
    for words in tables[WORDS]:
        allowed = int(limit * total) + words.saved + places.saved  # with the tables in float32
        try:
            plan = eckart.allocate(curves, eckart.Budget(bytes=allowed))
        except eckart.BudgetError:
            continue
        loss = plan.loss + words.loss + places.loss
        if best is None or loss < best[0]:
            best = loss, words, plan
    if best is None:
        raise ValueError(f"{limit} of the bytes: not reachable")
    loss, words, plan = best
    built = eckart.apply(model, plan, moments)
    for name, table in ((WORDS, words), (PLACES, places)):
        module = nn.Embedding.from_pretrained(table.rows)
        built.set_submodule(name, module)
    size = plan.costs["bytes"] - words.saved - places.saved
    width = WIDTHS[WORDS][[table is words for table in tables[WORDS]].index(True)]
    return built, {"bytes": size / total, "predicted": loss, "words": width}


def measure(output: Path, data: Path | None = None, *, limits: Sequence[float] = LIMITS) -> None:
    """Measure the rows that the results do not have yet."""
    results = Results(output)
    model, tokenizer = minilm()
    sentences = encoded(tokenizer, calibration_sentences(data))
    held_out = encoded(tokenizer, unlabelled(data, CALIBRATION, HELD_OUT))
    judge = Judge(*scored_pairs(tokenizer, data), held_out, model)
    if not results.has(method="dense"):
        results.add({"method": "dense", **judge.row(model)})
    calibrate_s, moments = timed(partial(eckart.calibrate, model, sentences, progress=False))
    curves_s, curves = timed(lambda: eckart.curves(model, moments, methods=(), progress=False))
    tables_s, tables = timed(
        lambda: {
            name: [coded(model, name, moments, bits) for bits in widths]
            for name, widths in WIDTHS.items()
        }
    )
    seconds = {"calibrate_s": calibrate_s, "curves_s": curves_s, "tables_s": tables_s}
    for limit in limits:
        if not results.has(limit=limit):
            apply_s, (network, row) = timed(partial(within, model, moments, curves, tables, limit))
            key = {"method": "both sides", "limit": limit}
            results.add({**key, **row, **judge.row(network), **seconds, "apply_s": apply_s})


MEASUREMENT = Measurement(measure, threads=1)
