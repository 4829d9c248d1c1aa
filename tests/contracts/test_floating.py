"""The floating tensors in outputs of every structure, by path."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal
from transformers.cache_utils import DynamicCache
from transformers.modeling_outputs import ImageClassifierOutput

from eckart.metrics.floating import floating

A, B = torch.ones(2, 3), torch.zeros(2, 5)
Pair = namedtuple("Pair", "left right")


@dataclass
class Boxes:
    boxes: Tensor
    labels: Tensor


@pytest.mark.parametrize(
    ("outputs", "paths"),
    [
        (A, [""]),
        ((A, B), ["[0]", "[1]"]),
        ([A, B], ["[0]", "[1]"]),
        ({"out": A, "aux": B}, ["out", "aux"]),
        (OrderedDict(out=A), ["out"]),
        (Pair(A, B), ["left", "right"]),
        (Boxes(A, B.long()), ["boxes"]),
        (SimpleNamespace(logits=A), ["logits"]),
        (Normal(A, A.exp()), ["loc", "scale"]),
        (ImageClassifierOutput(logits=A), ["logits"]),
        ({"heads": [Pair(A, B), (B, None)]}, ["heads[0].left", "heads[0].right"]),
        ([{"boxes": A}, {"boxes": B}], ["[*].boxes"]),
        ((A, {"deep": [B]}), ["[0]", "deep"]),
    ],
    ids=str,
)
def test_every_structure_is_walked(outputs: Any, paths: list[str]):
    if "deep" in paths:
        paths = ["[0]", "[1].deep[0]"]
    assert [*floating(outputs).values] == paths


def test_a_list_with_an_entry_per_example_is_one_output():
    assert [*floating([A, B], examples=2, listed=True).values] == ["[*]"]
    assert len(floating([A, B], examples=2, listed=True).values["[*]"]) == 2
    assert [*floating([A, B], examples=3, listed=True).values] == ["[0]", "[1]"]


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (B.long(), "it holds int64"),
        (B > 0, "it holds bool"),
        (B[:0], "it is empty"),
        (A, "the same numbers as logits"),
        (A.T, "the same numbers as logits"),
        (torch.tensor(1.0), "one number for the whole batch"),
        (DynamicCache(), "a DynamicCache, which is not a tensor"),
    ],
)
def test_what_is_no_output_is_named(part: Any, reason: str):
    found = floating({"logits": A, "other": part}, examples=2)
    assert [*found.values] == ["logits"]
    assert found.left_out == {"other": reason}


@pytest.mark.parametrize("nothing", [None, 3, 2.5, "text", True])
def test_what_is_no_data_is_not_spoken_of(nothing: Any):
    assert floating({"logits": A, "other": nothing}).left_out == {}


def test_caches_are_not_opened():
    found = floating({"logits": A, "past_key_values": ((A + 1, B), (A + 2, B))})
    assert found.left_out == {"past_key_values": "a cache"}


def test_what_inner_layers_hand_on_counts_only_alone():
    inner = {"hidden_states": (B,), "encoder_last_hidden_state": B + 1, "attentions": None}
    found = floating({"logits": A, **inner})
    assert [*found.values] == ["logits"]
    assert [*found.inner] == ["hidden_states[0]", "encoder_last_hidden_state"]
    assert [*floating(inner).values] == ["hidden_states[0]", "encoder_last_hidden_state"]


def test_a_single_number_is_the_output_if_there_is_nothing_else():
    (found,) = floating({"energy": torch.tensor(2.0)}, examples=4).values["energy"]
    assert found.shape == (1,)


def test_complex_numbers_are_pairs():
    (found,) = floating(torch.complex(A, 2 * A)).values[""]
    assert torch.equal(found, torch.stack([A, 2 * A], -1))
