"""What G of a language model should be measured in: true tokens, sampled ones, or logits.

python -m benchmarks.language.token_metrics --data ../data

The small Llama `stories260k`, calibrated and evaluated on the two halves of its stories, and
SmolLM2-135M, on the half of WikiText-2's validation text whose other half the benchmark of language
models reports: calibrated on its beginning, evaluated on windows spread over the rest.

Rows that the results hold are not measured again; delete them, or the file, to have them anew.
"""

import argparse
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

import eckart
from benchmarks.language.language_models import smollm2
from benchmarks.measuring.results_file import Results, Row
from benchmarks.tables import markdown
from eckart.text import read_text, windows

OUTPUT = Path("benchmarks/results/token-metrics.json")
METRICS = {"next_token": "true next tokens", "fisher": "sampled tokens", "logits": "logits"}
KEEPS = (0.9, 0.8, 0.6)
CALIBRATION, EVALUATION = (32, 512), (64, 512)  # sequences, tokens
SPREAD = 16  # windows of SmolLM2's evaluation
Batches = list[dict[str, Tensor]]


class Subject(NamedTuple):
    """A network, what it is calibrated on, and how it is judged."""

    model: nn.Module
    calibration: Batches
    evaluate: Callable[[nn.Module], eckart.Score]


def small_llama(data: Path) -> Subject:
    """A quarter of a million parameters, trained on stories."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = data / "stories260k"
    model: nn.Module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = read_text(data / "text/tinystories-excerpt.txt")
    half = len(text) // 2
    calibration = windows(tokenizer, text[:half], *CALIBRATION, batch=4)
    held_out = windows(tokenizer, text[half:], *EVALUATION, batch=8)
    return Subject(model, calibration, eckart.perplexity(held_out))


def smollm2_subject(data: Path) -> Subject:
    """The benchmark's network and calibration, and other windows than the benchmark reports."""
    model, tokenizer = smollm2()
    text = read_text(data / "text/wikitext2-valid.txt")
    half = text[: len(text) // 2]
    calibration = windows(tokenizer, half, *CALIBRATION)
    rest = half[len(half) // 4 :]  # the windows calibrated on end well before
    size = len(rest) // SPREAD
    pieces = [rest[at * size : (at + 1) * size] for at in range(SPREAD)]
    spread = [batch for piece in pieces for batch in windows(tokenizer, piece, 1, CALIBRATION[1])]
    return Subject(model, calibration, eckart.perplexity(spread))


SUBJECTS = {"stories260k": (small_llama, (False, True)), "SmolLM2": (smollm2_subject, (False,))}


def measure(network: str, data: Path, results: Results) -> None:
    """Perplexity and that of the dense network, by metric, rescaling and fraction kept."""
    make, rescalings = SUBJECTS[network]
    wanted = [m for m in METRICS if not results.has(network=network, metric=m)]
    if not wanted:
        return
    model, calibration, evaluate = make(data)
    dense = evaluate(model)
    for metric in wanted:
        moments = eckart.calibrate(model, calibration, metric=metric)
        rows = []
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


def table(rows: Sequence[Row]) -> str:
    """Multiples of the dense perplexity."""
    lines = []
    for network, (_, rescalings) in SUBJECTS.items():
        for rescale, (metric, title) in product(rescalings, METRICS.items()):
            key = {"network": network, "metric": metric, "rescale": rescale}
            found = {
                r["keep"]: r["perplexity"] / r["dense"] for r in rows if key.items() <= r.items()
            }
            name = f"{title}, rescaled" if rescale else title
            lines.append((network, name, *(f"{found[keep]:.2f}" for keep in KEEPS)))
    return markdown.table(("network", "`G` by", *(f"{keep:g}" for keep in KEEPS)), lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Metrics of a language model")
    parser.add_argument("--data", type=Path, required=True, help="folder of stories260k and text")
    parser.add_argument("--networks", nargs="+", default=list(SUBJECTS), choices=list(SUBJECTS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results = Results(arguments.output)
    for network in arguments.networks:
        measure(network, arguments.data, results)
    print(table(results.rows))


if __name__ == "__main__":
    main()
