"""The chain that `memory` kills and starts again, as a separate process.

python -m benchmarks.costs.memory_chain FOLDER
"""

import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eckart import Budget, allocate, apply, calibrate, curves, save

SHAPE: dict[str, Any] = {
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "vocab_size": 32000,
    "max_position_embeddings": 2048,
}
SEQUENCES, LENGTH, KEEP = 4, 256, 0.8
METHODS = ("weighted_svd",)


def loaded(folder: Path) -> nn.Module:
    """The network; its weights are mapped from the file and read when needed."""
    from transformers import AutoModelForCausalLM

    model: nn.Module = AutoModelForCausalLM.from_pretrained(folder, dtype="bfloat16")
    return model


def tokens() -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    shape = (SEQUENCES, 1, LENGTH)
    return [
        {"input_ids": t} for t in torch.randint(SHAPE["vocab_size"], shape, generator=generator)
    ]


def stages(scratch: Path) -> Iterator[tuple[str, float]]:
    """Run the whole chain; yield each step with its seconds."""
    start = time.perf_counter()

    def seconds() -> float:
        nonlocal start
        before, start = start, time.perf_counter()
        return start - before

    model = loaded(scratch / "network")
    yield "load", seconds()
    moments = calibrate(
        model, tokens(), metric=None, layers=["model.layers.*"], workspace=scratch / "workspace"
    )
    yield "calibrate", seconds()
    options = curves(model, moments, methods=METHODS)
    yield "curves", seconds()
    plan = allocate(options, Budget(params=KEEP, of="sites"))
    yield "allocate", seconds()
    smaller = apply(model, plan, moments)
    yield "apply", seconds()
    save(smaller, scratch / "smaller")
    yield "save", seconds()


def chain(scratch: Path) -> None:
    """One run, printed as a line of JSON per step."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    for stage, seconds in stages(scratch):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"stage": stage, "seconds": seconds, "peak_bytes": peak}), flush=True)


if __name__ == "__main__":
    chain(Path(sys.argv[1]))
