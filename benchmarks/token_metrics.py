"""What G of a language model should be measured in: true tokens, sampled ones, or logits.

python -m benchmarks.token_metrics --data ../data

The small Llama `stories260k`, calibrated and evaluated on the two halves of its stories.
"""

import argparse
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import torch
from torch import nn

import eckart
from benchmarks import markdown
from eckart.text import read_text, windows

OUTPUT = Path("benchmarks/results/token-metrics.json")
METRICS = {"next_token": "true next tokens", "fisher": "sampled tokens", "logits": "logits"}
KEEPS = (0.9, 0.8, 0.6)
CALIBRATION, EVALUATION = (32, 512), (64, 512)  # sequences, tokens
Row = dict[str, object]


def measured(data: Path) -> Iterator[Row]:
    """Perplexity over that of the dense network by metric, rescaling and fraction kept."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = data / "stories260k"
    model: nn.Module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = read_text(data / "text/tinystories-excerpt.txt")
    half = len(text) // 2
    calibration = windows(tokenizer, text[:half], *CALIBRATION, batch=4)
    evaluate = eckart.perplexity(windows(tokenizer, text[half:], *EVALUATION, batch=8))
    dense = evaluate(model)
    for metric in METRICS:
        moments = eckart.calibrate(model, calibration, metric=metric, progress=False)
        for rescale in (False, True):
            curves = eckart.curves(
                model, moments, methods=["pivoted_svd"], rescale=rescale, progress=False
            )
            for keep in KEEPS:
                plan = eckart.allocate(curves, eckart.Budget(params=keep, of="sites"))
                score = evaluate(eckart.apply(model, plan, moments))
                yield {
                    "metric": metric,
                    "rescale": rescale,
                    "keep": keep,
                    "dense": dense.value,
                    "perplexity": score.value,
                    "tokens": score.n,
                }


def table(rows: list[Row]) -> str:
    """Multiples of the dense perplexity."""
    lines = []
    cells = {(r["metric"], r["rescale"], r["keep"]): r["perplexity"] / r["dense"] for r in rows}
    for rescale, (metric, title) in product((False, True), METRICS.items()):
        texts = (f"{cells[metric, rescale, keep]:.2f}" for keep in KEEPS)
        name = f"{title}, rescaled" if rescale else title
        lines.append((name, *texts))
    return markdown.table(("`G` by", *(f"{keep:g}" for keep in KEEPS)), lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Metrics of a language model")
    parser.add_argument("--data", type=Path, required=True, help="folder of stories260k and text")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = list(measured(arguments.data))
    arguments.output.write_text(json.dumps(rows, indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
