"""A small mixture of experts, trained on stories, at fractions of what one token uses.

The loss that is predicted beside the divergence from the dense network that is measured, without
fine-tuning. Rows already in the results are not measured again.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import eckart
from benchmarks.language.bits_language import Judge
from benchmarks.measuring.clocks import timed
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results, Row
from benchmarks.subjects.language import STORIES, Batch, halves, stories260k, text
from eckart.text import windows

LIMITS = (0.9, 0.7, 0.5)
WINDOW, TRAINED, BATCH = 128, 1792, 16
SIZES: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 192,
    "moe_intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "tie_word_embeddings": True,
    "output_router_logits": False,
}


def mixture() -> nn.Module:
    """Eight experts in each of three blocks, two for each token; random weights."""
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    return Qwen3MoeForCausalLM(Qwen3MoeConfig(**SIZES))


def trained(model: nn.Module, batches: Sequence[Batch], steps: int) -> nn.Module:
    """The same after some steps, the learning rate falling to zero."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    for step in range(steps):
        ids = batches[step % len(batches)]["input_ids"]
        model(input_ids=ids, labels=ids).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
    return model.eval()


def measure(
    output: Path,
    data: Path | None = None,
    *,
    steps: int = 600,
    limits: Sequence[float] = LIMITS,
) -> None:
    """Train, calibrate on a quarter of the training text, and measure the rows that are missing."""
    results = Results(output)
    first, second = halves(text(STORIES, data))
    _, tokenizer = stories260k(data)
    batches = windows(tokenizer, first, sequences=TRAINED, length=WINDOW, batch=BATCH)
    judge = Judge(windows(tokenizer, second, sequences=128, length=WINDOW, batch=BATCH))
    train_s, model = timed(partial(trained, mixture(), batches, steps))
    dense = judge.row(model)
    if not results.has(method="dense"):
        results.add({"method": "dense", "steps": steps, "train_s": train_s, **dense})
    moments = eckart.calibrate(model, batches[: len(batches) // 4], progress=False)
    curves = eckart.curves(model, moments, progress=False)
    for limit in limits:
        budget = eckart.Budget(costs={"active_params": limit})
        if not results.has(limit=limit):
            plan = eckart.allocate(curves, budget)
            smaller = eckart.apply(model, plan, moments)
            results.add({"method": "eckart", "limit": limit, **kept(plan), **judge.row(smaller)})


def kept(plan: eckart.Plan) -> Row:
    """What a plan keeps, and what it predicts."""
    shares = {name: plan.costs[name] / plan.totals[name] for name in ("active_params", "params")}
    return {**shares, "predicted": plan.loss, "factored": len(plan.choices)}


MEASUREMENT = Measurement(measure, threads=1)
