"""Ways of rounding a language model, on a small real one."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from benchmarks.language.bits_language import WAYS, Decoder, Judge
from benchmarks.language.few_bits import Way, cheapest
from benchmarks.language.language_subject import Subject
from benchmarks.peers.rounding import by_size, covering_grid
from eckart.linalg.rounding import round_weight
from eckart.text import windows

transformers = pytest.importorskip("transformers")
LOSSES = ("loss", "loss elsewhere")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def decoder(data_root: Path) -> Decoder:
    path = data_root / "stories260k"
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    text = (data_root / "text/tinystories-excerpt.txt").read_text()[:10_000]
    batches = windows(tokenizer, text, 16, 128, batch=8)
    return Decoder(Subject(model, batches), Subject(model, batches[:1]))


def test_every_way_rounds_the_whole_decoder_and_both_sides_lose_least(decoder: Decoder):
    subject = decoder.subject
    judge = Judge(subject.calibration)
    dense = judge.row(subject.model)
    assert dense["kl"] == pytest.approx(0, abs=1e-3)
    ways = {name: WAYS[name] for name in ("to nearest", "GPTQ", "inputs", "both sides")}
    weights, rows = decoder.rounded(ways, dict.fromkeys(ways, [3] * len(subject.layers)))
    assert rows["inputs"]["bits"] < rows["GPTQ"]["bits"] < 3.5
    changes = {name: decoder.judged(judge, found)["kl"] for name, found in weights.items()}
    for found in (changes, *({way: row[key] for way, row in rows.items()} for key in LOSSES)):
        assert found["both sides"] < found["inputs"] < found["GPTQ"] < found["to nearest"]
    assert judge.row(subject.model) == dense


def test_widths_are_allocated_within_a_limit(decoder: Decoder):
    way = Way(a=1e-2)
    bits = []
    for widths in decoder.allocated(way, [3.5, 4.5]).values():
        _, rows = decoder.rounded({"": way}, {"": widths})
        bits.append(rows[""]["bits"])
    assert 3.4 < bits[0] <= 3.5
    assert 4.4 < bits[1] <= 4.5


def test_the_cheapest_options_keep_to_all_bytes():
    losses, sizes = [[9.0, 4.0, 0.0], [3.0, 1.0, 0.5]], [[1, 2, 3], [1, 2, 3]]
    assert cheapest(losses, sizes, 4) == [2, 0]
    assert cheapest(losses, sizes, 5.5) == [2, 1]
    with pytest.raises(ValueError, match="the least is 2"):
        cheapest(losses, sizes, 1)


def test_a_covering_grid_clips_nothing():
    weight = torch.randn(1, 5, 30, generator=torch.Generator().manual_seed(0)).double() + 1
    grid = covering_grid(weight, 4, 8)
    step = grid.over(30, grid.scale.double())
    assert ((round_weight(weight, grid).weight - weight).abs() <= 0.51 * step).all()


def test_large_inputs_come_last_in_the_order_so_they_are_rounded_first():
    found = by_size(torch.tensor([[[2.0, 1.0], [1.0, 1.0]]]).double())
    assert found.order.tolist() == [[1, 0]]
    sizes = found.diagonal[0].tolist()
    assert all(first <= later for first, later in pairwise(sizes))
