"""Questions for language models: what is read, and that batches do not change what is answered."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from eckart.errors import InputError
from eckart.scores import Item, answered, read_items

WORDS = 30


class Letters:
    """A tokenizer that gives one token for a letter, after what it may put in front by itself."""

    def __init__(self, front: tuple[int, ...] = ()) -> None:
        self.front = front

    def __call__(
        self, text: str, add_special_tokens: bool = True, **settings: object
    ) -> dict[str, list[int]]:
        letters = [1 + (ord(letter) - ord("a")) % (WORDS - 1) for letter in text]
        return {"input_ids": [*self.front * add_special_tokens, *letters]}


class Counting(nn.Module):
    """A model whose next token depends on all tokens before it, padding aside."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.out = nn.Embedding(WORDS, 8), nn.Linear(8, WORDS)
        self.table.weight.data *= 3
        self.sizes: list[tuple[int, int]] = []

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        self.sizes.append(tuple(input_ids.shape))
        return self.out(self.table(input_ids).cumsum(1).tanh())


ITEMS = [
    Item((("what is it", " a dog"), ("what is it", " something else")), 1),
    Item((("a longer question, is it not", " yes"), ("a longer one", " yes")), 0),
    Item((("once upon a", " time"),), None),
]


def one_by_one(model: nn.Module, context: str, continuation: str) -> tuple[float, bool]:
    """Without batches."""
    before = Letters()(context)["input_ids"]
    ids = torch.tensor(Letters()(context + continuation)["input_ids"])
    logits = model(ids[None, :-1], torch.ones(1, len(ids) - 1))[0, len(before) - 1 :]
    nats = logits.log_softmax(-1).gather(1, ids[len(before) :, None]).sum()
    return float(nats.detach()), bool((logits.argmax(-1) == ids[len(before) :]).all())


def test_likelihoods_are_those_of_single_passes():
    model = Counting().eval()
    found = answered(model, ITEMS, Letters())
    assert len(model.sizes) == 1
    expected = [one_by_one(model, *pair) for item in ITEMS for pair in item.pairs]
    assert found.nats.tolist() == pytest.approx([nats for nats, _ in expected], rel=1e-5)
    assert found.greedy.tolist() == [greedy for _, greedy in expected]


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch):
    model = Counting().eval()
    whole = answered(model, ITEMS, Letters())
    monkeypatch.setattr("eckart.scores.zero_shot._TOKENS", 30)
    parts = answered(model, ITEMS, Letters())
    assert len(model.sizes) > 3
    torch.testing.assert_close(parts.nats, whole.nats)


def test_the_right_answer_is_the_likeliest_one():
    found = answered(Counting().eval(), ITEMS[:2], Letters())
    first = float(found.nats[1] > found.nats[0])
    second = float(found.nats[2] > found.nats[3])
    assert found.accuracy.samples.tolist() == [first, second]
    by_letter = found.nats / torch.tensor([5.0, 14.0, 3.0, 3.0])
    first = float(by_letter[1] > by_letter[0])
    assert found.normalised.samples.tolist() == [first, second]
    assert found.perplexity is None


def test_a_continuation_is_right_if_it_is_written_greedily():
    model = Counting().eval()
    found = answered(model, ITEMS[2:], Letters())
    assert found.accuracy.value == float(found.greedy[0])
    assert found.perplexity.value == pytest.approx(float((-found.nats[0]).exp()))
    assert found.normalised is None


def test_a_blank_at_the_end_of_a_context_belongs_to_the_answer():
    found = [
        answered(Counting().eval(), [Item(((context, answer),), None)], Letters()).nats
        for context, answer in (("say ", "it"), ("say", " it"))
    ]
    assert torch.equal(*found)


def test_what_the_tokenizer_puts_in_front_is_read_and_not_scored():
    model, items = Counting().eval(), [Item((("abc", "d"),), None)]
    found = answered(model, items, Letters((7,)))
    assert model.sizes == [(1, 4)]
    ids = torch.tensor([[7, *Letters()("abc")["input_ids"]]])
    logits = model(ids, torch.ones_like(ids))[0, -1].detach().log_softmax(-1)
    assert float(found.nats) == pytest.approx(float(logits[Letters()("d")["input_ids"][0]]))


def test_contexts_are_cut_at_their_beginning():
    items = [Item((("a" * 20 + "bcdef", "gh"),), None)]
    short = [Item((("bcdef", "gh"),), None)]
    cut = answered(Counting().eval(), items, Letters(), most_tokens=6).nats
    assert torch.equal(cut, answered(Counting().eval(), short, Letters()).nats)


LINES = [
    {"context": "one", "choices": [" a", " b"], "gold": 1},
    {"contexts": ["one", "two"], "continuation": " c", "gold": 0},
    {"context": "one", "continuation": " d"},
]


def written(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_three_kinds_of_lines_are_read(tmp_path: Path):
    path = written(tmp_path / "x.jsonl", *LINES)
    assert read_items(path) == [
        Item((("one", " a"), ("one", " b")), 1),
        Item((("one", " c"), ("two", " c")), 0),
        Item((("one", " d"),), None),
    ]
    assert len(read_items(path, most=2)) == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"context": "one"}, "KeyError: 'continuation'"),
        ({"context": "one", "choices": [" a"], "gold": 1}, "gold is 1, of 1 answers"),
        ({"context": "", "continuation": " d"}, "not empty"),
        ([1, 2], "expected"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, line: object, said: str):
    path = written(tmp_path / "x.jsonl", LINES[0], line)
    with pytest.raises(InputError, match=rf"line 2: .*{said}"):
        read_items(path)
