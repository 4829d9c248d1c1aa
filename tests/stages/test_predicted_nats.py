"""On a language model the predicted loss is what truncation adds to the nats per token."""

from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from eckart import calibrate, curves
from eckart.layers import rebuild
from eckart.methods import methods_named, problem_of
from eckart.metrics import NextToken

LENGTH, SEQUENCES = 128, 24


@pytest.fixture(scope="module")
def stories(data_root: Path) -> tuple[nn.Module, list[dict[str, Tensor]]]:
    """The network and windows of text like that it was trained on."""
    transformers = pytest.importorskip("transformers")
    folder = str(data_root / "stories260k")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    (path,) = sorted((data_root / "text").glob("*[sS]tories*"))
    ids = tokenizer(path.read_text()[:40_000], return_tensors="pt")["input_ids"][0]
    windows = ids[: SEQUENCES * LENGTH].reshape(-1, LENGTH)
    return model, [{"input_ids": part} for part in windows.split(8)]


@torch.no_grad()
def nats(model: nn.Module, batches: list[dict[str, Tensor]]) -> float:
    """Mean negative log-likelihood per predicted token."""
    probe: Any = NextToken()
    pairs = [(model(**batch), batch) for batch in batches]
    total = sum(float(probe(out, batch, torch.Generator())) for out, batch in pairs)
    return total / sum(probe.count(batch, out) for out, batch in pairs)


def test_predicted_losses_are_nats_per_token(stories: Any):
    model, batches = stories
    moments = calibrate(model, batches)
    assert (moments.metric, moments.outputs) == ("next_token", SEQUENCES * (LENGTH - 1))
    before = nats(model, batches)
    (method,) = methods_named(["weighted_svd"])
    predicted, measured = [], []
    for curve in curves(model, moments, methods=["weighted_svd"], progress=False).curves:
        name = curve.site.name
        layer = model.get_submodule(name)
        state = method.prepare(problem_of(layer, name, moments))
        half = [
            o for o in curve.options if o.form.ranks and o.form.params <= 0.6 * layer.weight.numel()
        ]
        option = half[-1]
        model.set_submodule(name, rebuild(layer, option.form, method.build(state, option.form)))
        predicted.append(option.loss)
        measured.append(nats(model, batches) - before)
        model.set_submodule(name, layer)
    assert len(predicted) == 35
    ratios = [m / p for m, p in zip(measured, predicted, strict=True)]
    assert 1 / 2.5 < median(ratios) < 2.5
    assert spearmanr(predicted, measured).statistic > 0.85
