"""Language models on questions, dense and with their decoders in few bits.

A row is one task for one network, with standard errors; rows already in the results are not
measured again. Each width is a budget of bits per weight, scales included, that ``compress`` meets.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from torch import nn

import eckart
from benchmarks.language.harness import NETWORKS, loaded
from benchmarks.measuring.clocks import timed
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results, Row
from benchmarks.subjects.data import data_root
from benchmarks.subjects.language import STORIES, WIKITEXT, halves, text
from eckart.checkpoint.merging import dequantized
from eckart.scores import Answered, answered, read_items
from eckart.text import Tokenizer, windows

TASKS = ("arc_easy", "piqa", "lambada", "hellaswag")
DENSE = 32.0  # bits of a weight as it is
CALIBRATION = (32, 512)  # sequences, tokens


def in_bits(
    model: nn.Module, tokenizer: Tokenizer, network: str, bits: float, data: Path | None
) -> nn.Module:
    """The network whose layers have so many bits per weight, as weights again."""
    first, _ = halves(text(STORIES if network == NETWORKS[0] else WIKITEXT, data))
    sequences, length = CALIBRATION
    batches = windows(tokenizer, first, sequences=sequences, length=length)
    budget = eckart.Budget(bytes=bits / DENSE, of="sites")
    made = eckart.compress(
        model, batches, budget=budget, methods=["rounding"], latency=False, progress=False
    )
    return dequantized(made.model)


def row_of(found: Answered) -> Row:
    """The scores that there are, with their standard errors."""
    row: Row = {"items": len(found.items)}
    for kind in ("accuracy", "normalised", "perplexity"):
        score = getattr(found, kind)
        if score is not None:
            row |= {kind: score.value, f"{kind}_error": score.standard_error}
    return row


def measure(
    output: Path,
    data: Path | None = None,
    *,
    network: str = "SmolLM2-135M",
    bits: Sequence[float] = (DENSE, 4.5, 3.5),
    tasks: Sequence[str] = TASKS,
    items: int = 500,
) -> None:
    """Measure the rows that the results do not have yet."""
    results = Results(output)
    for width in bits:
        left = [t for t in tasks if not results.has(network=network, bits=width, task=t)]
        if not left:
            continue
        model, tokenizer = loaded(network, data)
        if width < DENSE:
            model = in_bits(model, tokenizer, network, width, data)
        for task in left:
            (path,) = (data_root(data) / "lm_eval").glob(f"{task}.*.jsonl")
            asked = read_items(path, items)
            seconds, found = timed(partial(answered, model, asked, tokenizer))
            about = {"network": network, "bits": width, "task": task}
            results.add({**about, **row_of(found), "seconds": seconds})


MEASUREMENT = Measurement(measure, {"network": NETWORKS}, threads=1)
