"""Perplexity, and how well embeddings rank pairs of sentences."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor, nn

from eckart import perplexity
from eckart.errors import InputError
from eckart.scores import spearman
from random_moments import normal
from transformer_networks import bert, llama, padded, token_ids

SEQUENCES = [token_ids(length, seed=length) for length in (9, 3, 6, 5)]


def nats(model: nn.Module, ids: Tensor) -> Tensor:
    with torch.no_grad():
        scores = model(input_ids=ids[None]).logits[0, :-1].log_softmax(-1)
    return -scores.gather(1, ids[1:, None])[:, 0].double()


@pytest.mark.parametrize("side", ["left", "right"])
def test_perplexity_of_padded_batches_is_that_of_every_sequence_alone(side: str):
    model = llama()
    score = perplexity([padded(SEQUENCES[:2], side), padded(SEQUENCES[2:], side)])(model)
    expected = torch.cat([nats(model, ids) for ids in SEQUENCES])
    assert score.n == len(expected) == 19
    assert not score.higher_is_better
    assert score.value == pytest.approx(float(expected.mean().exp()), rel=1e-4)
    error = score.value * float(expected.std()) / math.sqrt(19)
    assert score.standard_error == pytest.approx(error, rel=1e-4)


def test_perplexity_of_a_uniform_guess_is_the_number_of_words():
    class Uniform(nn.Module):
        def forward(self, input_ids: Tensor) -> Tensor:
            return torch.zeros(*input_ids.shape, 40, dtype=torch.bfloat16)

    assert perplexity([token_ids(3, 300)])(Uniform()).value == pytest.approx(40, rel=1e-6)


def test_perplexity_is_finite_where_the_network_is_hopeless():
    class Sure(nn.Module):
        def forward(self, input_ids: Tensor) -> Tensor:
            wrong = (input_ids.roll(-1, 1) + 1) % 40
            return 1e4 * F.one_hot(wrong, 40).float()

    assert math.isfinite(perplexity([token_ids(3, 30)])(Sure()).value)


def test_perplexity_says_what_it_needs():
    with pytest.raises(InputError, match="only once"):
        perplexity(iter([padded(SEQUENCES)]))
    with pytest.raises(InputError, match="no batch"):
        perplexity([])(llama())
    with pytest.raises(InputError, match="no token of this batch"):
        perplexity([{"input_ids": token_ids(3, 1)}])(llama())


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_spearman_is_scipys_over_explicit_embeddings(pooling: Any):
    model, others = bert(), [token_ids(length, seed=50 + length) for length in (4, 8, 2, 7)]
    targets = [0.2, 3.0, 1.0, 5.0]

    def vector(ids: Tensor) -> Tensor:
        with torch.no_grad():
            hidden = model(input_ids=ids[None]).last_hidden_state[0]
        return hidden.mean(0) if pooling == "mean" else hidden[0]

    pairs = [
        (padded(SEQUENCES[:1]), padded(others[:1])),
        (padded(SEQUENCES[1:]), padded(others[1:])),
    ]
    score = spearman(pairs, targets, pooling)(model)
    cosines = [
        float(F.cosine_similarity(vector(a), vector(b), dim=0))
        for a, b in zip(SEQUENCES, others, strict=True)
    ]
    assert score.value == pytest.approx(spearmanr(cosines, targets).statistic)
    assert (score.n, score.higher_is_better) == (4, True)


def test_the_standard_error_is_the_spread_over_samples():
    class Given(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return SimpleNamespace(last_hidden_state=x[:, None])

    values, errors = [], []
    for seed in range(200):
        x, y = normal(60, 2, seed=seed), normal(60, 2, seed=1000 + seed)
        y = x + 0.5 * y
        human = (F.cosine_similarity(x, y) + 0.3 * normal(60, seed=2000 + seed)).tolist()
        score = spearman([({"x": x}, {"x": y})], human)(Given())
        values.append(score.value)
        errors.append(score.standard_error)
    spread = torch.tensor(values).std()
    assert sum(errors) / 200 == pytest.approx(float(spread), rel=0.25)


def test_spearman_says_what_it_needs():
    batch = padded(SEQUENCES)
    with pytest.raises(InputError, match="4 pairs of sentences and 3 targets"):
        spearman([(batch, padded(SEQUENCES[::-1]))], [1.0, 2.0, 3.0])(bert())
    with pytest.raises(InputError, match="not all equal"):
        spearman([(batch, padded(SEQUENCES[::-1]))], [1.0] * 4)(bert())
    with pytest.raises(InputError, match="only once"):
        spearman(iter([(batch, batch)]), [1.0] * 4)
