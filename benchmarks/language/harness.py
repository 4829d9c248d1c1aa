"""Our scores on questions beside those of lm-eval, on the same items.

The package gives the likelihood of every answer; both turn it into scores by the same rules. Rows
already in the results are not measured again.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results, Row
from benchmarks.subjects.data import data_root
from benchmarks.subjects.language import smollm2, stories260k
from eckart.scores import Answered, Item, answered, read_items
from eckart.text import Tokenizer

TASKS = ("arc_easy", "piqa", "lambada", "hellaswag", "winogrande", "openbookqa", "boolq")
NETWORKS = ("stories260k", "SmolLM2-135M")


def by_package(model: nn.Module, items: Sequence[Item], tokenizer: Any) -> Answered:
    """What lm-eval's own model wrapper finds likely."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    wrapped = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8, device="cpu")
    pairs = [pair for item in items for pair in item.pairs]
    asked = [Instance("loglikelihood", {}, pair, at) for at, pair in enumerate(pairs)]
    found = wrapped.loglikelihood(asked, disable_tqdm=True)
    nats = torch.tensor([nats for nats, _ in found], dtype=torch.float64)
    return Answered(items, nats, torch.tensor([greedy for _, greedy in found]))


def compared(ours: Answered, theirs: Answered) -> Row:
    """Both scores, and the largest difference of a likelihood."""
    row: Row = {"items": len(ours.items), "answers": len(ours.nats)}
    for kind in ("accuracy", "normalised", "perplexity"):
        mine, other = getattr(ours, kind), getattr(theirs, kind)
        if mine is not None:
            row |= {kind: mine.value, f"{kind}_error": mine.standard_error}
            row[f"{kind}_of_package"] = other.value
    row["largest_difference"] = float((ours.nats - theirs.nats).abs().max())
    row["other_greedy"] = int((ours.greedy != theirs.greedy).sum())
    return row


def measure(
    output: Path,
    data: Path | None = None,
    *,
    network: str = "stories260k",
    tasks: Sequence[str] = TASKS,
    items: int = 100,
) -> None:
    """Measure the tasks that the results do not have yet."""
    results = Results(output)
    model, tokenizer = loaded(network, data)
    for task in tasks:
        if results.has(network=network, task=task):
            continue
        (path,) = (data_root(data) / "lm_eval").glob(f"{task}.*.jsonl")
        asked = read_items(path, items)
        found = compared(answered(model, asked, tokenizer), by_package(model, asked, tokenizer))
        results.add({"network": network, "task": task, **found})


def loaded(network: str, data: Path | None) -> tuple[nn.Module, Tokenizer]:
    """A network by its name."""
    return stories260k(data) if network == "stories260k" else smollm2()


MEASUREMENT = Measurement(measure, {"network": NETWORKS}, threads=1)
