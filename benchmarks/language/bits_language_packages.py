"""A small language model in few bits by llmcompressor's GPTQ, as `bits-language` calibrates it.

``pip install --no-deps llmcompressor compressed-tensors loguru``. One scale per row, on a symmetric
grid; embeddings and the head stay.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from benchmarks.language.bits_language import SETTINGS, Judge
from benchmarks.language.language_subject import Subject
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results, Row
from benchmarks.subjects.language import halves, text
from eckart.linalg.rounding import stored_bytes
from eckart.text import windows

NETWORK = "stories260k"


def gptq(model: nn.Module, batches: Sequence[dict[str, Any]], bits: int) -> nn.Module:
    """The network with its decoder on a grid, by the package's own defaults."""
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import GPTQModifier

    grid = {"num_bits": bits, "type": "int", "symmetric": True, "strategy": "channel"}
    scheme = {"group_0": {"targets": ["Linear"], "weights": grid}}
    rows = [ids for batch in batches for ids in batch["input_ids"].tolist()]
    found: nn.Module = oneshot(
        model=model,
        dataset=Dataset.from_dict({"input_ids": rows}),
        recipe=GPTQModifier(config_groups=scheme, ignore=["lm_head"]),
        max_seq_length=len(rows[0]),
        num_calibration_samples=len(rows),
        shuffle_calibration_samples=False,
    )
    return found


def measure(
    output: Path,
    data: Path | None = None,
    *,
    bits: Sequence[int] = (4, 3),
    tokens: int = 16_384,
) -> None:
    """Measure the rows that the results do not have yet."""
    results, setting = Results(output), SETTINGS[NETWORK]
    for width in bits:
        key: Row = {"network": NETWORK, "method": "GPTQ, llmcompressor", "calibration": tokens}
        if results.has(**key, width=width):
            continue
        model, tokenizer = setting.load(data)
        halved = halves(text(setting.source, data))
        judge = Judge(windows(tokenizer, halved[1], *setting.evaluation, batch=1))
        dense = judge.row(model)
        layers = Subject(model, []).layers.values()
        shapes = [(layer.weight.shape[0], layer.weight.shape[1]) for layer in layers]
        size = sum(stored_bytes(out, inputs, width) for out, inputs in shapes)
        weights = sum(layer.weight.numel() for layer in layers)
        batches = windows(tokenizer, halved[0], tokens // setting.length, setting.length, 1)
        start = time.process_time()
        row = judge.row(gptq(model, batches, width))
        multiple = row["perplexity"] / dense["perplexity"]
        spent = time.process_time() - start
        results.add(
            {
                **key,
                "width": width,
                "bits": 8 * size / weights,
                **row,
                "multiple": multiple,
                "seconds": spent,
            }
        )


MEASUREMENT = Measurement(measure, threads=1)
