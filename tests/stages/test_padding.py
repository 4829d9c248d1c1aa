"""Moments of padded batches are those of the sequences one by one."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eckart import Moments, NextToken, calibrate
from eckart.stages.calibrate import run
from tolerances import tolerance
from transformer_networks import bert, gpt2, llama, padded, token_ids

SEQUENCES = [token_ids(length, seed=length) for length in (7, 3, 5, 2)]


def assert_same_moments(found: Moments, expected: Moments) -> None:
    assert found.specs.keys() == expected.specs.keys()
    assert (found.examples, found.outputs) == (expected.examples, expected.outputs)
    for name, spec in expected.specs.items():
        assert found.rows[found.specs[name].input] == expected.rows[spec.input]
        for part in ("a", "mean", "g"):
            left, right = getattr(found, part)(name), getattr(expected, part)(name)
            scale = float(right.abs().max())
            torch.testing.assert_close(
                left / scale, right / scale, **tolerance(torch.float32), msg=f"{name}: {part}"
            )


def one_by_one(sequences: list[Tensor]) -> list[dict[str, Tensor]]:
    return [padded([sequence]) for sequence in sequences]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("make", [llama, gpt2])
def test_of_a_causal_language_model(make: Callable[[], nn.Module], side: str):
    model, batch = make(), padded(SEQUENCES, side)
    if make is gpt2:  # its positions are learned
        batch["position_ids"] = (batch["attention_mask"].cumsum(1) - 1).clamp_min(0)
    found = calibrate(model, [batch], metric="next_token")
    assert found.outputs == sum(len(s) - 1 for s in SEQUENCES)
    assert set(found.rows.values()) == {sum(map(len, SEQUENCES))}
    assert_same_moments(found, calibrate(model, one_by_one(SEQUENCES), metric="next_token"))


def direction(outputs: Any, batch: Any, generator: torch.Generator) -> Tensor:
    """Of the pooled output, the same for every example."""
    return (outputs.pooler_output @ torch.linspace(-1, 1, outputs.pooler_output.shape[1])).sum()


@pytest.mark.parametrize("side", ["left", "right"])
def test_of_an_encoder_and_its_pooler(side: str):
    """The first token is what the pooler reads, so padding on the left changes which that is."""
    model, sequences = bert(), SEQUENCES if side == "right" else [SEQUENCES[0]] * 2
    apart = ["encoder.*", "pooler.*", "*.word_embeddings"]  # positions are looked up once for all
    found = calibrate(model, [padded(sequences, side)], metric=direction, layers=apart)
    assert found.rows["pooler.dense"] == len(sequences)
    assert found.rows["encoder.layer.0.output.dense"] == sum(map(len, sequences))
    alone = calibrate(model, one_by_one(sequences), metric=direction, layers=apart)
    assert_same_moments(found, alone)


class Timed(nn.Module):
    """An encoder of torch, tokens first or batch first, with a head on the mean."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(40, 8)
        self.batch_first = batch_first
        layer = nn.TransformerEncoderLayer(8, 2, 12, 0.1, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=batch_first)
        self.head = nn.Linear(8, 3)

    def forward(self, ids: Tensor, src_key_padding_mask: Tensor) -> Tensor:
        x = self.words(ids)
        x = x if self.batch_first else x.transpose(0, 1)
        x = self.encoder(x, src_key_padding_mask=src_key_padding_mask)
        x = x if self.batch_first else x.transpose(0, 1)
        real = (~src_key_padding_mask)[..., None]
        return self.head((x * real).sum(1) / real.sum(1))


def first_logit(outputs: Any, batch: Any, generator: torch.Generator) -> Tensor:
    return outputs[:, 0].sum()


@pytest.mark.parametrize("batch_first", [True, False])
def test_of_a_torch_encoder_with_a_key_padding_mask(batch_first: bool):
    def batch(sequences: list[Tensor]) -> dict[str, Tensor]:
        made = padded(sequences)
        return {"ids": made["input_ids"], "src_key_padding_mask": made["attention_mask"] == 0}

    model, layers = Timed(batch_first), None if not batch_first else ["head"]
    whole = calibrate(model, [batch(SEQUENCES)], metric=first_logit, layers=layers)
    single = [batch([sequence]) for sequence in SEQUENCES]
    expected = calibrate(model, single, metric=first_logit, layers=layers)
    assert_same_moments(whole, expected)
    if not batch_first:
        assert whole.rows["encoder.layers.0.linear2"] == sum(map(len, SEQUENCES))


class Tagger(nn.Module):
    """Every token's classes depend on all tokens of its sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.fc = nn.Embedding(40, 6), nn.Linear(6, 5)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mixed = self.fc(self.words(input_ids)).sum(1, keepdim=True)
        return mixed.expand(-1, input_ids.shape[1], -1)


@pytest.mark.parametrize("metric", ["logits", "fisher"])
def test_outputs_at_padding_are_not_probed(metric: str):
    """Of two tokens one is real: one row in place of two, and one draw in place of two in each."""
    torch.manual_seed(0)
    model, ids, mask = Tagger(), token_ids(3000, 2), torch.tensor([[1, 0]]).expand(3000, 2)
    half, whole = (
        calibrate(model, [{"input_ids": ids, "attention_mask": m}], metric=metric).g("fc")
        for m in (mask, torch.ones_like(mask))
    )
    ratio = float(whole.diagonal(dim1=1, dim2=2).sum() / half.diagonal(dim1=1, dim2=2).sum())
    assert ratio == pytest.approx(4, rel=0.1)


def test_halves_of_a_language_model_add_up():
    model, batches = llama(), [padded(SEQUENCES[:2]), padded(SEQUENCES[2:])]
    start = calibrate(model, batches[:1])
    rest = calibrate(model, batches[1:], first_batch=start.batches)
    whole = calibrate(model, batches)
    assert_same_moments(start + rest, whole)
    assert whole.digest not in (start.digest, replace(whole, outputs=whole.outputs + 1).digest)


def test_few_examples_of_a_large_vocabulary_are_kept(monkeypatch: pytest.MonkeyPatch):
    """Outputs of the sample are held at once later on."""
    monkeypatch.setattr(run, "_SAMPLE_OUTPUTS", 3 * 7 * 40)
    moments = calibrate(llama(), [{"input_ids": token_ids(2, 7)}, {"input_ids": token_ids(8, 7)}])
    assert [len(part["input_ids"]) for part in moments.sample] == [2, 1]


def test_labels_and_masks_say_what_is_predicted():
    model, batch = llama(), padded(SEQUENCES)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    with_labels = calibrate(model, [{**batch, "labels": labels}])
    assert with_labels.metric == "next_token"
    assert_same_moments(with_labels, calibrate(model, [batch]))
    prompt = labels.clone()
    prompt[:, :2] = -100
    fewer = calibrate(model, [{**batch, "labels": prompt}], metric=NextToken())
    assert fewer.outputs == sum(max(0, len(s) - 2) for s in SEQUENCES)
