"""The peer and our methods of the encoder benchmark keep to their budget, on a tiny encoder."""

import pytest
import torch

from benchmarks.costs import weights_kept
from benchmarks.sentence_embeddings import METHODS, Subject, sentences
from eckart.metrics import Embedding
from transformer_networks import bert, padded, token_ids

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


def test_sentences_are_whole_and_of_some_words():
    text = "Too short. One of more words than five is taken. <unk> makes a gap in this one here.\nA"
    assert sentences(text, 9) == ["One of more words than five is taken."]
    assert sentences("All of these words make one. All of these make another. " * 3, 2) == [
        "All of these words make one.",
        "All of these make another.",
    ]
