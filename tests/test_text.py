from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eckart.errors import InputError
from eckart.text import cut, read_text, token_ids, windows


def letters(text: str, **settings: object) -> dict[str, list[int]]:
    assert settings["add_special_tokens"] is False
    return {"input_ids": [ord(letter) for letter in text]}


@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 4), st.integers(0, 3))
def test_windows_follow_one_another(sequences: int, length: int, batch: int, first: int):
    ids = torch.arange((first + sequences) * length + length - 1)
    batches = [b["input_ids"] for b in cut(ids, sequences, length, batch, first)]
    assert torch.equal(torch.cat(batches).flatten(), ids[first * length :][: sequences * length])
    assert all(b.shape == (batch, length) for b in batches[:-1])
    assert 1 <= len(batches[-1]) <= batch


def test_a_text_that_is_too_short_says_what_it_has():
    with pytest.raises(InputError, match=r"has 7 tokens, which make 2 windows of 3; expected 3:"):
        windows(letters, "abcdefg", 3, 3)
    with pytest.raises(InputError, match=r"make 0 windows of 3 after the 2 that are in use"):
        cut(torch.arange(7), 1, 3, first=2)
    with pytest.raises(InputError, match="0 tokens"):
        windows(letters, "", 1, 1)


@pytest.mark.parametrize("wrong", ["sequences", "length", "batch"])
def test_nothing_is_less_than_one(wrong: str):
    with pytest.raises(InputError, match=f"{wrong}=0"):
        windows(letters, "abcdef", **{"sequences": 1, "length": 2, "batch": 1, wrong: 0})


def test_files(tmp_path: Path):
    path = tmp_path / "text.txt"
    path.write_text("naïve\n", encoding="utf-8")
    assert read_text(path) == "naïve\n"
    path.write_bytes("naïve".encode("latin1"))
    with pytest.raises(InputError, match=r"not UTF-8 \(byte 2: .*iconv"):
        read_text(path)
    path.write_text(" \n")
    with pytest.raises(InputError, match="is empty"):
        read_text(path)
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_text(tmp_path)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_text(tmp_path / "none")


def test_a_real_tokenizer_takes_the_whole_text(data_root: Path):
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(data_root / "stories260k")
    text = read_text(data_root / "text" / "tinystories-excerpt.txt")[:20_000]
    ids = token_ids(tokenizer, text)
    assert len(ids) > tokenizer.model_max_length
    assert tokenizer.decode(ids[:200]) in text
