"""SmolLM2-135M compressed by eckart and its peers, without fine-tuning: perplexity on two texts.

Rows already in the results are not measured again; to do so, delete them or the file. All networks
are evaluated in bfloat16; ours and the dense one also in float32.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn

import eckart
from benchmarks.language.language_subject import Subject
from benchmarks.measuring.clocks import timed
from benchmarks.measuring.counts import weights_kept
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results, Row
from benchmarks.peers.forms import matrix, replaced
from benchmarks.peers.low_rank import truncated
from benchmarks.peers.ranks import by_energy, uniform
from benchmarks.peers.zero_sum import balanced_ranks, loss_changes
from benchmarks.subjects.language import (
    CALIBRATION,
    KEEPS,
    SHAKESPEARE,
    WIKITEXT,
    Batch,
    halves,
    smollm2,
    text,
)
from eckart.records.offer import AUTO, DAMPING
from eckart.stages import allocate
from eckart.text import windows

EVALUATION = (32, 1024)  # sequences, tokens
DAMPED = 0.03  # for 16,384 tokens; chosen on the rest of the half that calibrates
DTYPES = ("bfloat16", "float32")
UNITS = "backward_elimination"  # the width of MLPs, and heads

Method = Callable[[Subject, float], nn.Module]


def alike(kind: str) -> Method:
    """A peer's decomposition with the same fraction in every layer."""

    def method(subject: Subject, keep: float) -> nn.Module:
        ranks = uniform(subject.layers, keep * subject.size)
        return truncated(subject.model, subject.spectra(kind), ranks)

    return method


def energy(subject: Subject, keep: float) -> nn.Module:
    """Whitened SVD; ranks by relative energy under one multiplier."""
    spectra = subject.spectra("whitened")
    energies = {name: spectrum.energy for name, spectrum in spectra.items()}
    allowed = keep * subject.size
    return truncated(subject.model, spectra, by_energy(subject.layers, energies, allowed))


def zero_sum(subject: Subject, keep: float) -> nn.Module:
    """Zero-Sum SVD without its correction."""
    spectra, layers = subject.spectra("whitened"), subject.layers
    changes = {
        name: loss_changes(matrix(layer), spectra[name], subject.gathered.gradients[name])
        for name, layer in layers.items()
    }
    inside = {name.removeprefix("model.layers."): change for name, change in changes.items()}
    allowed = keep * subject.size
    ranks = balanced_ranks(subject.decoder, inside, allowed)
    return truncated(subject.model, spectra, {f"model.layers.{k}": r for k, r in ranks.items()})


def ours(
    methods: str,
    choose: Callable[..., eckart.Plan] = eckart.allocate,
    damping: float | str = DAMPING,
    rescale: bool = False,
) -> Method:
    """Eckart with both moments, and methods with commas between them."""

    def compressed(subject: Subject, keep: float) -> nn.Module:
        options = subject.curves(methods, damping, rescale)
        plan = choose(options, eckart.Budget(params=keep, of="sites"))
        return eckart.apply(subject.model, plan, subject.moments)

    return compressed


METHODS: dict[str, Method] = {
    "SVD, uniform": alike("plain"),
    "ASVD": alike("asvd"),
    "FWSVD": alike("fwsvd"),
    "SVD-LLM": alike("whitened"),
    "whitened, global by relative energy": energy,
    "Zero-Sum SVD": zero_sum,
    "two-sided, uniform": ours("weighted_svd", allocate.uniform),
    "two-sided, one budget": ours("weighted_svd"),
    "eckart": ours("pivoted_svd"),
    "eckart, damped": ours("pivoted_svd", damping=DAMPED),
    "eckart, damped and rescaled": ours("pivoted_svd", damping=DAMPED, rescale=True),
    "eckart, shrunk by the data": ours("pivoted_svd", damping=AUTO),
    "eckart, units alone, damped": ours(UNITS, damping=DAMPED),
    "eckart with units, damped": ours(f"pivoted_svd,{UNITS}", damping=DAMPED),
    "eckart with units, shrunk by the data": ours(f"pivoted_svd,{UNITS}", damping=AUTO),
}
HOPELESS = ("SVD, uniform", "ASVD", "FWSVD")  # not measured at 0.9: of no use at 0.8


def kept(model: nn.Module, dense: nn.Module) -> float:
    """The remaining fraction of the weights of the decoder's linear layers."""
    return weights_kept(model, dense, ["model.layers"])


def measured(model: nn.Module, texts: dict[str, list[Batch]], dtype: torch.dtype) -> Iterator[Row]:
    """Perplexity on each text."""
    network = model.to(dtype)
    for title, batches in texts.items():
        score = eckart.perplexity(batches)(network)
        yield {
            "text": title,
            "dtype": str(dtype).removeprefix("torch."),
            "perplexity": score.value,
            "tokens": score.n,
        }


def measure(
    output: Path,
    data: Path | None = None,
    *,
    methods: Sequence[str] = tuple(METHODS),
    keep: Sequence[float] = KEEPS,
    dtype: str = "bfloat16",
) -> None:
    """Measure the rows that the results do not have yet."""
    results = Results(output)
    model, tokenizer = smollm2()
    calibration, held_out = halves(text(WIKITEXT, data))
    texts = {"WikiText-2": held_out, "Shakespeare": text(SHAKESPEARE, data)}
    judged = {name: windows(tokenizer, t, *EVALUATION, batch=2) for name, t in texts.items()}
    subject = Subject(model, windows(tokenizer, calibration, *CALIBRATION, batch=2))

    def add(name: str, fraction: float, network: nn.Module, seconds: float) -> None:
        row = {"method": name, "keep": fraction, "kept": kept(network, model), "seconds": seconds}
        results.add(*(row | found for found in measured(network, judged, getattr(torch, dtype))))

    if not results.has(method="dense", dtype=dtype):
        add("dense", 1.0, replaced(model, {}), 0.0)
    for name in methods:
        for fraction in keep:
            hopeless = name in HOPELESS and fraction == max(KEEPS)
            known = results.has(method=name, keep=fraction, dtype=dtype)
            if not known and not hopeless:
                seconds, network = timed(partial(METHODS[name], subject, fraction))
                add(name, fraction, network, seconds)


MEASUREMENT = Measurement(measure, choices={"methods": tuple(METHODS), "dtype": DTYPES}, threads=2)
