"""The forecast of `eckart inspect --plan-run` against one block of language models, measured.

The blocks are those of SmolLM2-135M, SmolLM2-360M and TinyLlama-1.1B, with random weights in
float32 and 1,024 words, because time and memory do not depend on what the weights are. FLOPs are
counted by torch, and seconds are of the processor. The forecast of seconds takes the speeds that
`eckart inspect --plan-run` is told: of the network, of sums and of float64, measured beside them.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import eckart
from benchmarks.measuring.clocks import fair_clock, timed
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results
from eckart.methods import methods_named, problem_of
from eckart.pipeline.forecast import work_of

BLOCKS: dict[str, tuple[int, int, int, int]] = {  # width, between, heads, heads of keys
    "SmolLM2-135M": (576, 1536, 9, 3),
    "SmolLM2-360M": (960, 2560, 15, 5),
    "TinyLlama-1.1B": (2048, 5632, 32, 4),
}
BATCHES, SEQUENCES, LENGTH, WORDS = 2, 4, 256, 1024
ROUNDS = 5


def block(name: str) -> nn.Module:
    """One block between a small table and a small head."""
    from transformers import LlamaConfig, LlamaForCausalLM

    width, between, heads, keys = BLOCKS[name]
    shape: dict[str, Any] = {"hidden_size": width, "intermediate_size": between}
    shape |= {"num_attention_heads": heads, "num_key_value_heads": keys, "vocab_size": WORDS}
    shape |= {"attn_implementation": "eager"}  # torch does not count the products of the other
    torch.manual_seed(0)
    made: nn.Module = LlamaForCausalLM(LlamaConfig(num_hidden_layers=1, **shape))
    return made.eval()


def double_speed(size: int) -> float:
    """FLOPs per second of products of square matrices in float64."""
    left, right = torch.randn(2, size, size, dtype=torch.float64).unbind()
    return 2 * size**3 / _best(lambda: left @ right)


def sum_speed(widths: Sequence[int]) -> float:
    """FLOPs per second of what a batch adds to moments of these widths."""
    rows = [torch.randn(SEQUENCES * LENGTH, width) for width in widths]
    sums = [torch.zeros(width, width, dtype=torch.float64) for width in widths]

    def add() -> None:
        for x, total in zip(rows, sums, strict=True):
            gram = x.mT @ x
            torch.linalg.vector_norm(gram, dtype=torch.float64)
            total.add_(gram)

    return sum(2 * len(x) * x.shape[1] ** 2 for x in rows) / _best(add)


def network_s(model: nn.Module, words: Tensor) -> float:
    """Seconds of a plain forward and backward pass of a batch, without weight gradients."""
    embedded = model.get_input_embeddings()(words).detach()  # type: ignore[operator]
    model.requires_grad_(False)

    def run() -> None:
        found = model(inputs_embeds=embedded.clone().requires_grad_())
        found.logits.logsumexp(-1).sum().backward()

    return _best(run)


def _best(run: Callable[[], object]) -> float:
    return min(timed(run, fair_clock())[0] for _ in range(ROUNDS))


def measure(output: Path, *, networks: Sequence[str] = tuple(BLOCKS)) -> None:
    """One row for each block that is not in the file yet."""
    results = Results(output)
    for name in networks:
        if not results.has(network=name):
            results.add({"network": name, **measured(name)})


def _flops(model: nn.Module, batches: Sequence[dict[str, Tensor]]) -> int:
    with FlopCounterMode(display=False) as counter:
        eckart.calibrate(model, batches, metric="next_token", progress=False)
    return int(counter.get_total_flops())


def _calibration_s(model: nn.Module, batches: Sequence[dict[str, Tensor]]) -> float:
    def run() -> eckart.Moments:
        return eckart.calibrate(model, batches, metric="next_token", progress=False)

    return min(timed(run, fair_clock())[0] for _ in range(2))


def _decompose(model: nn.Module, moments: eckart.Moments) -> None:
    (method,) = methods_named(["pivoted_svd"])
    for name in moments.specs:
        method.prepare(problem_of(model.get_submodule(name), name, moments))


def measured(name: str) -> dict[str, Any]:
    """What was forecast for one block, and what it took."""
    model = block(name)
    words = torch.randint(0, WORDS, (BATCHES * SEQUENCES, LENGTH))
    batches: list[dict[str, Tensor]] = [{"input_ids": part} for part in words.split(SEQUENCES)]
    work, tokens = work_of(model, {"input_ids": words[:1]}), words.numel()
    moments = eckart.calibrate(model, batches, metric="next_token", progress=False)
    both_flops, one_flops = (_flops(model, part) for part in (batches, batches[:1]))
    clock, width = fair_clock(), BLOCKS[name][0]
    single, double = sum_speed(BLOCKS[name][:2]), double_speed(2 * width)
    passes_s = network_s(model, words[:SEQUENCES])
    both, one = (_calibration_s(model, part) for part in (batches, batches[:1]))
    decompose_s, _ = timed(lambda: _decompose(model, moments), clock)
    per_token = work.network_flops + work.moment_flops
    return {
        "tokens": tokens,
        "layers": work.layers,
        "bytes": moments.nbytes,
        "bytes_forecast": work.moment_bytes,
        "flops": both_flops - one_flops,  # of one batch, without what is done once
        "flops_forecast": per_token * tokens / BATCHES,
        "network_flops_per_s": work.network_flops * tokens / BATCHES / passes_s,
        "sum_flops_per_s": single,
        "double_flops_per_s": double,
        "calibrate_s": both - one,
        "calibrate_forecast_s": passes_s + work.moment_flops * tokens / BATCHES / single,
        "decompose_s": decompose_s,
        "decompose_forecast_s": work.decomposition_flops / double,
    }


MEASUREMENT = Measurement(measure, choices={"networks": BLOCKS})
