"""Every peer and method of the language benchmark keeps to its budget, on a small real model."""

from pathlib import Path

import pytest
import torch

import eckart
from benchmarks.language.language_models import METHODS, kept
from benchmarks.language.language_subject import Subject
from eckart.text import windows

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def subject(data_root: Path) -> Subject:
    path = data_root / "stories260k"
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    text = (data_root / "text/tinystories-excerpt.txt").read_text()[:20_000]
    return Subject(model, windows(tokenizer, text, 8, 64, batch=4))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_keeps_to_its_budget(subject: Subject, name: str):
    before = {key: value.clone() for key, value in subject.model.state_dict().items()}
    network = METHODS[name](subject, 0.7)
    assert 0.6 < kept(network, subject.model) <= 0.7
    scores = [eckart.perplexity(subject.calibration)(m).value for m in (subject.model, network)]
    assert scores[0] < scores[1] < float("inf")
    assert all(torch.equal(before[k], v) for k, v in subject.model.state_dict().items())
