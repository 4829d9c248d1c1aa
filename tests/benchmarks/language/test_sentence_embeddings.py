"""The peer and our methods of the encoder benchmark keep to their budget, on a tiny encoder."""

import numpy as np
import pytest
import torch

from benchmarks.language.judge import Judge, correlations
from benchmarks.language.sentence_embeddings import METHODS, Subject
from benchmarks.language.sentences import sentences
from benchmarks.measuring.counts import weights_kept
from eckart.metrics import Embedding
from transformer_networks import bert, padded, token_ids

SEEDS = (range(40), range(40, 80))  # of the first sentences of pairs, and of the second

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def subject() -> Subject:
    rows = [token_ids(1, length)[0] for length in (5, 9, 12, 7)]
    return Subject(bert(), [padded(rows[:2]), padded(rows[2:])] * 4)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_keeps_to_its_budget_and_changes_the_embedding(subject: Subject, name: str):
    network = METHODS[name](subject, 0.7)
    assert 0.6 < weights_kept(network, subject.model, subject.moments.specs) <= 0.7
    batch, probe = subject.calibration[0], Embedding()
    with torch.no_grad():
        before, after = (probe.observed(m(**batch), batch) for m in (subject.model, network))
    assert 0 < (after - before).norm(dim=1).max() < 1.5


def test_a_networks_drop_has_a_paired_error(subject: Subject):
    sides = [padded([token_ids(1, 6, seed=seed)[0] for seed in seeds]) for seeds in SEEDS]
    scores = torch.randn(40, generator=torch.Generator().manual_seed(0)).tolist()
    judge = Judge([tuple(sides)], scores, subject.calibration, bert())
    same = judge.row(bert())
    assert same["drop"] == same["drop_error"] == same["change"] == 0
    peer, other = (METHODS[name](subject, 0.7) for name in ("SVD-LLM", "eckart"))
    row = judge.row(other, peer)
    assert row["spearman"] == pytest.approx(same["spearman"] - row["drop"])
    assert row["excess"] == pytest.approx(row["drop"] - judge.row(peer)["drop"] / 2)
    assert row["change"] > 0


def test_errors_are_those_of_a_bootstrap():
    generator = np.random.default_rng(1)
    scores = generator.normal(size=1000)
    noisy = [scores + noise * generator.normal(size=1000) for noise in (0.5, 0.6)]
    whole, error = correlations(noisy, scores)
    assert whole[0] > whole[1] > 0.8
    alone, paired = error(lambda r: r[0]), error(lambda r: r[0] - r[0])
    assert alone == pytest.approx((1 - whole[0] ** 2) / 1000**0.5, rel=0.5)
    assert paired == 0


def test_sentences_are_whole_and_of_some_words():
    text = "Too short. One of more words than five is taken. <unk> makes a gap in this one here.\nA"
    assert sentences(text) == ["One of more words than five is taken."]
    both = ["All of these words make one.", "All of these make another."]
    assert sentences(" ".join(both * 3))[:2] == both
