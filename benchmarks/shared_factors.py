"""Whether projections that read one input should share a factor: predicted losses, block by block.

python -m benchmarks.shared_factors --data ../data

The stacked weights of query, key and value, or of gate and up, get one low-rank pair, whose first
factor is then common to all of them; or each gets its own pair, of the ranks that are best under
one budget. The loss of both is ``½ tr(G ΔW A ΔWᵀ)``, G of a stack being that of each in turn.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import eckart
from benchmarks import markdown
from benchmarks.language_models import smollm2
from benchmarks.results_file import Results, Row
from benchmarks.sentence_embeddings import calibration_sentences, encoded, minilm
from eckart.knapsack import Knapsack, solve
from eckart.layers import as_matrix
from eckart.linalg import damped, output_projection
from eckart.text import read_text, windows

OUTPUT = Path("benchmarks/results/shared-factors.json")
KEEPS = (0.8, 0.6, 0.4)
DAMPING = 1e-2
SEQUENCES = (8, 512)  # of SmolLM2's calibration
EVERY = {"MiniLM": 1, "SmolLM2": 5}  # of all stacks, the first and every so many
Array = NDArray[np.float64]


def stacks(moments: eckart.Moments) -> dict[str, list[str]]:
    """Layers that read one input, where there are several, by the first."""
    by_input = defaultdict(list)
    for name, spec in moments.specs.items():
        by_input[spec.input].append(name)
    return {first: names for first, names in by_input.items() if len(names) > 1}


def stored(weight: Tensor, pivoted: bool) -> Array:
    """Numbers that each rank takes, from zero to full, which is dense; pivoted, rank² less."""
    out, inputs = weight.shape
    ranks = np.arange(min(out, inputs) + 1.0)
    return np.minimum(ranks * (inputs + out - pivoted * ranks), weight.numel())


def compared(model: nn.Module, moments: eckart.Moments, names: Sequence[str]) -> Iterator[Row]:
    """The loss of a shared factor over that of separate ones which take no more."""
    weights = [as_matrix(model.get_submodule(name))[0].double() for name in names]
    stack = torch.cat(weights)
    a = damped(moments.a(names[0]), DAMPING)
    measured = [damped(moments.g(name), DAMPING)[0] for name in names]
    white = [torch.eye(len(g)).to(g) for g in measured]
    for metric, gs in {"A and G": measured, "A": white}.items():
        own = [_losses(w, a, g) for w, g in zip(weights, gs, strict=True)]
        shared = _losses(stack, a, torch.block_diag(*gs))
        for pivoted, keep in product((True, False), KEEPS):
            sizes, of_stack = [stored(w, pivoted) for w in weights], stored(stack, pivoted)
            rank = int(np.flatnonzero(of_stack <= keep * stack.numel())[-1])
            least = _least(own, sizes, of_stack[rank])
            yield {
                "layers": len(names),
                "metric": metric,
                "pivoted": pivoted,
                "keep": keep,
                "ratio": shared[rank] / least,
            }


def _losses(weight: Tensor, a: Tensor, g: Tensor) -> Array:
    return output_projection(weight[None], a, g[None]).losses.numpy()


def _least(losses: Sequence[Array], sizes: Sequence[Array], allowed: float) -> float:
    """The least sum of losses of one rank per layer that takes no more."""
    sites = np.repeat(np.arange(len(losses)), [len(loss) for loss in losses])
    problem = Knapsack(sites, np.concatenate(losses), np.concatenate(sizes)[None])
    picked = solve(problem, np.array([allowed]))
    return float(problem.losses[picked].sum())


def subjects(data: Path) -> Iterator[tuple[str, nn.Module, eckart.Moments]]:
    """An encoder and a language model, with their moments."""
    model, tokenizer = minilm()
    yield "MiniLM", model, eckart.calibrate(model, encoded(tokenizer, calibration_sentences(data)))
    model, tokenizer = smollm2()
    text = read_text(data / "text/wikitext2-valid.txt")
    batches = windows(tokenizer, text[: len(text) // 2], *SEQUENCES, batch=2)
    yield "SmolLM2", model, eckart.calibrate(model, batches)


def table(rows: Sequence[Row]) -> str:
    """Median and range over the blocks, of a shared factor's loss over that of separate ones."""
    lines = []
    for network, layers in dict.fromkeys((r["network"], r["layers"]) for r in rows):
        what = {2: "gate, up", 3: "query, key, value"}[layers]
        for metric, pivoted in product(("A and G", "A"), (True, False)):
            key = {"network": network, "layers": layers, "metric": metric, "pivoted": pivoted}
            found = [r for r in rows if key.items() <= r.items()]
            by_keep = ([r["ratio"] for r in found if r["keep"] == keep] for keep in KEEPS)
            cells = [f"{median(v):.2f} ({min(v):.2f} to {max(v):.2f})" for v in by_keep]
            lines.append((f"{network}, {what}", metric, "yes" if pivoted else "no", *cells))
    head = ("layers", "loss by", "pivoted", *(f"{keep:g}" for keep in KEEPS))
    return markdown.table(head, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Shared factors beside separate ones")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds text/")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    results = Results(arguments.output)
    for network, model, moments in subjects(arguments.data):
        for first, names in list(stacks(moments).items())[:: EVERY[network]]:
            if not results.has(network=network, stack=first):
                rows = compared(model, moments, names)
                results.add(*({"network": network, "stack": first, **row} for row in rows))
    print(table(results.rows))


if __name__ == "__main__":
    main()
