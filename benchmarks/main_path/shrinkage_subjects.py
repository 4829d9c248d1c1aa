"""Networks with data to calibrate on, and other data that judge."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

import eckart
from benchmarks.language.sentences import encoded
from benchmarks.subjects.data import batches
from benchmarks.subjects.language import STS, WIKITEXT, halves, minilm, smollm2, text
from benchmarks.subjects.reference import reference
from eckart.metrics import Probe
from eckart.records.offer import AUTO
from eckart.scores import Evaluate
from eckart.text import windows

PER_BATCH = 16  # sentences


@dataclass(frozen=True)
class Subject:
    """A trained network with data to calibrate on, and other data.

    Attributes:
        model: in eval mode.
        batches: the calibration data, from the number of examples.
        other: batches of other data.
        examples: the numbers of examples.
        layers: those whose factors are compared; whole networks have all of them.
        keeps: fractions of the parameters of the layers that can change; none if networks are not
            scored.
        metrics: by name; the first is the default.
        evaluate: the score.
    """

    model: nn.Module
    batches: Callable[[int], list[Any]]
    other: list[Any]
    examples: Sequence[int]
    layers: Sequence[str]
    keeps: Sequence[float] = ()
    metrics: Mapping[str, str | Probe] = field(default_factory=lambda: {AUTO: AUTO})
    evaluate: Evaluate | None = None


def resnet20(data: Path | None) -> Subject:
    """Training images; the first 2,000 test images are other data, all of them are scored."""
    on = reference("resnet20", data, 5000)
    images, _ = on.calibration
    return Subject(
        on.model,
        lambda n: list(images[:n].split(max(10, n // 40))),
        list(on.test[0][:2000].split(250)),
        (100, 500, 5000),
        ("layer1.1.*", "layer2.1.*", "layer3.0.*", "layer3.1.*", "linear"),
        (0.5, 0.3),
        evaluate=eckart.accuracy(batches(on.test)),
    )


def sentence_encoder(data: Path | None) -> Subject:
    """Sentences of every other pair of STS-B's dev split; the pairs between them are scored."""
    model, tokenizer = minilm()
    cells = [line.split("\t") for line in text(STS, data).splitlines() if line]
    known, judged = cells[::2], cells[1::2]
    mixed = shuffled([row[side] for row in known for side in (5, 6)])
    pairs = [encoded(tokenizer, [row[side] for row in judged]) for side in (5, 6)]
    truth = [float(row[4]) for row in judged]
    return Subject(
        model,
        lambda n: in_batches(tokenizer, mixed[:n]),
        in_batches(tokenizer, shuffled([row[5] for row in judged])),
        (64, 256, 1024, len(mixed)),
        ("encoder.layer.0.*", "encoder.layer.2.*", "encoder.layer.4.*"),
        (0.6, 0.4),
        {AUTO: AUTO, "single rows": eckart.Similarity(joint=False)},
        eckart.scores.spearman(list(zip(*pairs, strict=True)), truth),
    )


def language_model(data: Path | None) -> Subject:
    """Windows of 512 tokens of one half of WikiText-2's validation text; the rest is other data."""
    model, tokenizer = smollm2()
    first, second = halves(text(WIKITEXT, data))
    return Subject(
        model,
        lambda n: windows(tokenizer, first, n // 512, 512, batch=1),
        windows(tokenizer, second, 16, 512, batch=2),
        (4096, 16384),
        ("model.layers.4.*", "model.layers.20.*"),
    )


SUBJECTS: dict[str, Callable[[Path | None], Subject]] = {
    "resnet20": resnet20,
    "minilm": sentence_encoder,
    "smollm2": language_model,
}


def shuffled(sentences: Sequence[str]) -> list[str]:
    """The same sentences in a fixed random order, so that batches are alike."""
    order = torch.randperm(len(sentences), generator=torch.Generator().manual_seed(0))
    return [sentences[index] for index in order.tolist()]


def in_batches(tokenizer: Any, sentences: Sequence[str]) -> list[Any]:
    """Encoded in small batches."""
    starts = range(0, len(sentences), PER_BATCH)
    return [encoded(tokenizer, sentences[start : start + PER_BATCH])[0] for start in starts]
