"""all-MiniLM-L6-v2 without fine-tuning: Spearman's correlation on STS-B's dev split.

Half the squared change of the embedding is measured too, on sentences that were not used for
calibration. Errors of a drop are paired: both networks get the same draws of pairs.

Rows already in the results are not measured again; to do so, delete them or the file.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from torch import nn

import eckart
from benchmarks.language.judge import Judge
from benchmarks.language.sentences import (
    CALIBRATION,
    HELD_OUT,
    calibration_sentences,
    encoded,
    scored_pairs,
    unlabelled,
)
from benchmarks.measuring.clocks import timed
from benchmarks.measuring.counts import weights_kept
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results
from benchmarks.peers.forms import compressible, dense_size, matrix
from benchmarks.peers.low_rank import truncated, weighted
from benchmarks.peers.ranks import uniform
from benchmarks.subjects.language import Batch, minilm

KEEPS = (0.8, 0.6, 0.4, 0.3)
PEER = "SVD-LLM"  # whose drop is halved
LAYERS = ("encoder.*",)  # the tables stay as they are


@dataclass(frozen=True, eq=False)
class Subject:
    """The encoder, its moments, and the statistics that the methods read."""

    model: nn.Module
    calibration: list[Batch]

    @cached_property
    def moments(self) -> eckart.Moments:
        """Moments of the inputs, and of the gradients of similarities to other sentences."""
        return eckart.calibrate(self.model, self.calibration, layers=LAYERS, progress=False)

    @cached_property
    def embedding_moments(self) -> eckart.Moments:
        """Moments of the inputs, and of the gradients of random projections of the embedding."""
        return eckart.calibrate(
            self.model, self.calibration, metric="embedding", layers=LAYERS, progress=False
        )


Method = Callable[[Subject, float], nn.Module]


def svd_llm(subject: Subject, keep: float) -> nn.Module:
    """Whitened by the inputs alone, with the same fraction in every layer."""
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
    "eckart, ranks and units": ours(["pivoted_svd", "backward_elimination"]),
    "eckart, rescaled": ours(["pivoted_svd"], rescale=True),
}


def measure(
    output: Path,
    data: Path | None = None,
    *,
    methods: Sequence[str] = tuple(METHODS),
    keep: Sequence[float] = KEEPS,
) -> None:
    """Measure the rows that the results do not have yet."""
    results = Results(output)
    model, tokenizer = minilm()
    subject = Subject(model, encoded(tokenizer, calibration_sentences(data)))
    held_out = encoded(tokenizer, unlabelled(data, CALIBRATION, HELD_OUT))
    judge = Judge(*scored_pairs(tokenizer, data), held_out, model)
    if not results.has(method="dense"):
        results.add({"method": "dense", "keep": 1.0, **judge.row(model)})
    for fraction in keep:
        left = [m for m in methods if not results.has(method=m, keep=fraction)]
        peer = svd_llm(subject, fraction) if left else None
        for name in left:
            seconds, network = timed(partial(METHODS[name], subject, fraction))
            kept = weights_kept(network, model, subject.moments.specs)
            found = judge.row(network, None if name == PEER else peer)
            results.add(
                {"method": name, "keep": fraction, **found, "kept": kept, "seconds": seconds}
            )


MEASUREMENT = Measurement(measure, choices={"methods": tuple(METHODS)}, threads=2)
