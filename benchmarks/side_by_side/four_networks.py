"""The four networks of the README's table."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor, nn

import eckart
from benchmarks.language.sentences import Encoder, calibration_sentences
from benchmarks.side_by_side.subject import Answer, Judge, Subject, hits
from benchmarks.subjects.language import STS, WIKITEXT, Batch, halves, minilm, smollm2, text
from benchmarks.subjects.photographs import TEN, efficientnet_lite, imagenette
from benchmarks.subjects.reference import reference
from benchmarks.subjects.trained import load_resnet
from eckart.text import windows

_SENTENCE, _SENTENCES = 64, 32  # tokens of a sentence, sentences of a call
_WINDOW = 256  # tokens
_CALIBRATION, _JUDGED = 32, 32  # windows
BITS_ALONE = ("efficientnet-lite0", "minilm", "smollm2")


def resnet20(data: Path | None = None) -> Subject:
    """A residual network on small images."""
    on = reference("resnet20", data)
    return Subject(
        name="resnet20",
        title="ResNet-20, CIFAR-10",
        unit="%",
        inputs="64 images of 32 px",
        load=partial(load_resnet, data),
        batches=on.batches,
        example=on.calibration[0][:64],
        judge=hits(on.test),
        budgets={"bytes=0.1": eckart.Budget(bytes=0.1), "ms=0.8": eckart.Budget(ms=0.8)},
        peer="static",
    )


def photographs(data: Path | None = None) -> Subject:
    """A network of mobile phones on photographs."""
    (train, _), test = imagenette(data, "train", 500), imagenette(data, "validation", 2000)
    return Subject(
        name="efficientnet-lite0",
        title="EfficientNet-Lite0, Imagenette",
        unit="%",
        inputs="1 image of 224 px",
        load=efficientnet_lite,
        batches=list(train.split(50)),
        example=train[:1],
        judge=hits(test, TEN),
        budgets={"bytes=0.2": eckart.Budget(bytes=0.2)},
        methods=("rounding",),
        peer="static",
    )


def encoder(data: Path | None = None) -> Subject:
    """Embeddings of sentences, judged by similarities that people gave."""
    _, tokenizer = minilm()
    sentences = partial(_padded, tokenizer)
    calibration = sentences(calibration_sentences(data)[::4])
    return Subject(
        name="minilm",
        title="all-MiniLM-L6-v2, STS-B",
        unit="Spearman, %",
        inputs=f"{_SENTENCES} sentences of {_SENTENCE} tokens",
        load=lambda: minilm()[0],
        batches=calibration,
        example=calibration[0],
        judge=_similarities(sentences, data),
        budgets={"bytes=0.2": eckart.Budget(bytes=0.2)},
        methods=("rounding",),
        peer="dynamic",
    )


def _padded(tokenizer: Encoder, texts: list[str]) -> list[Batch]:
    """Batches in which every sentence has the same number of tokens."""
    settings = {"padding": "max_length", "truncation": True, "max_length": _SENTENCE}
    parts = [texts[start : start + _SENTENCES] for start in range(0, len(texts), _SENTENCES)]
    return [dict(tokenizer(part, return_tensors="pt", **settings)) for part in parts]


def _similarities(sentences: Callable[[list[str]], list[Batch]], data: Path | None) -> Judge:
    rows = [line.split("\t") for line in text(STS, data).splitlines() if line]
    sides = [sentences([row[column] for row in rows]) for column in (5, 6)]
    scores = [float(row[4]) for row in rows]

    def judge(answer: Answer) -> tuple[float, int]:
        first, second = (torch.cat([_pooled(answer, batch) for batch in side]) for side in sides)
        found = F.cosine_similarity(first, second).tolist()
        return 100 * float(spearmanr(found, scores).statistic), len(scores)

    return judge


def _pooled(answer: Answer, batch: Batch) -> Tensor:
    real = batch["attention_mask"][..., None]
    return (answer(batch) * real).sum(1) / real.sum(1)


def language_model(data: Path | None = None) -> Subject:
    """A small model of English, judged by the perplexity of text that follows."""
    _, tokenizer = smollm2()
    calibration, held_out = halves(text(WIKITEXT, data))
    batches = windows(tokenizer, calibration, _CALIBRATION, _WINDOW, batch=1)
    judging = windows(tokenizer, held_out, _JUDGED, _WINDOW, batch=1)
    return Subject(
        name="smollm2",
        title="SmolLM2-135M, WikiText-2",
        unit="perplexity",
        inputs=f"{_WINDOW} tokens",
        load=_without_cache,
        batches=batches,
        example=batches[0],
        judge=partial(_perplexity, judging),
        budgets={"bytes=0.35": eckart.Budget(bytes=0.35)},
        methods=("rounding",),
        peer="dynamic",
    )


def _without_cache() -> nn.Module:
    """The model; keys and values of past tokens are not among its outputs."""
    model: Any = smollm2()[0]
    model.config.use_cache = False
    return cast(nn.Module, model)


def _perplexity(batches: list[Batch], answer: Answer) -> tuple[float, int]:
    total, count = 0.0, 0
    for batch in batches:
        logits, tokens = answer(batch)[:, :-1], batch["input_ids"][:, 1:]
        total += float(F.cross_entropy(logits.flatten(0, 1), tokens.flatten(), reduction="sum"))
        count += tokens.numel()
    return float(torch.tensor(total / count).exp()), count


NETWORKS: dict[str, Callable[[Path | None], Subject]] = {
    "resnet20": resnet20,
    "efficientnet-lite0": photographs,
    "minilm": encoder,
    "smollm2": language_model,
}
