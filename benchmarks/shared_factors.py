"""Whether projections that read one input should share a factor: one plan with, and one without.

python -m benchmarks.shared_factors --data ../data

Query, key and value, or gate and up, may begin with one factor (``shared_svd``) or have their own
(``pivoted_svd``); the budget decides. Losses are predicted under A alone, or under A and G.

Rows that the results hold are not measured again; delete them, or the file, to have them anew.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

import eckart
from benchmarks import markdown
from benchmarks.results_file import Results, Row
from benchmarks.sentence_embeddings import calibration_sentences, encoded, judged, minilm
from benchmarks.token_metrics import smollm2_subject

OUTPUT = Path("benchmarks/results/shared-factors.json")
KEEPS = (0.8, 0.6, 0.4)
METRICS = {None: "A", "auto": "A and G"}
OFFERED = {"own": ["pivoted_svd"], "shared": ["pivoted_svd", "shared_svd"]}


class Subject(NamedTuple):
    """A network, what it is calibrated on, how it is judged, and the damping."""

    model: nn.Module
    calibration: list[dict[str, Tensor]]
    evaluate: Callable[[nn.Module], eckart.Score]
    damping: float


def encoder(data: Path) -> Subject:
    """MiniLM, as in its benchmark."""
    model, tokenizer = minilm()
    batches = encoded(tokenizer, calibration_sentences(data))
    return Subject(model, batches, judged(tokenizer, data), 1e-6)


def language_model(data: Path) -> Subject:
    """SmolLM2, judged on windows that its benchmark does not report."""
    return Subject(*smollm2_subject(data), 0.03)


SUBJECTS = {"MiniLM": encoder, "SmolLM2": language_model}


def measured(network: str, subject: Subject, metric: str | None) -> Iterator[Row]:
    """Both plans at every fraction, their predicted losses and the scores of the networks."""
    model, moments = (
        subject.model,
        eckart.calibrate(subject.model, subject.calibration, metric=metric),
    )
    dense = subject.evaluate(model)
    for offered, methods in OFFERED.items():
        moments.held.clear()
        before = time.process_time()
        curves = eckart.curves(model, moments, methods=methods, damping=subject.damping)
        seconds = time.process_time() - before
        for keep in KEEPS:
            plan = eckart.allocate(curves, eckart.Budget(params=keep, of="sites"))
            score = subject.evaluate(eckart.apply(model, plan, moments))
            yield {
                "network": network,
                "metric": METRICS[metric],
                "offered": offered,
                "keep": keep,
                "loss": plan.loss,
                "bound": plan.bound,
                "sites": len(curves.shared),
                "together": sum(len(names) > 1 for names in plan.together),
                "dense": dense.value,
                "score": score.value,
                "n": score.n,
                "curves_seconds": seconds,
            }


def table(rows: Sequence[Row]) -> str:
    """Loss with shared factors over that without, how many sites share, and both scores."""
    by_key = {(r["network"], r["metric"], r["offered"], r["keep"]): r for r in rows}
    lines = []
    for network in SUBJECTS:
        for metric in METRICS.values():
            cells = []
            for keep in KEEPS:
                own, shared = (by_key[network, metric, offered, keep] for offered in OFFERED)
                ratio = shared["loss"] / own["loss"]
                share = f"{shared['together']} of {shared['sites']}"
                cells.append(f"{ratio:.3f} ({share}): {_score(own)} → {_score(shared)}")
            lines.append((network, metric, *cells))
    return markdown.table(("network", "loss by", *(f"{keep:g}" for keep in KEEPS)), lines)


def _score(row: Row) -> str:
    """A correlation in percent, or a perplexity."""
    return f"{100 * row['score']:.2f}" if row["dense"] < 1 else f"{row['score']:,.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Shared factors beside separate ones")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds text/")
    parser.add_argument("--networks", nargs="+", default=list(SUBJECTS), choices=list(SUBJECTS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results = Results(arguments.output)
    for network in arguments.networks:
        left = [m for m, name in METRICS.items() if not results.has(network=network, metric=name)]
        subject = SUBJECTS[network](arguments.data) if left else None
        for metric in left if subject else ():
            results.add(*measured(network, subject, metric))
    print(table(results.rows))


if __name__ == "__main__":
    main()
