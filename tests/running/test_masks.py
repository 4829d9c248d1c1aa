"""Which rows of a layer are padding, for every shape that a layer may see."""

import pytest
import torch
from torch import Tensor

from eckart.running.masks import masks_of, real_part, real_rows

MASK = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1]])  # 3 sequences, 4 tokens
PLACES = torch.arange(12).reshape(3, 4)  # the number of the token at every place


def masks(mask: Tensor = MASK) -> tuple[Tensor, ...]:
    return masks_of({"attention_mask": mask})


@pytest.mark.parametrize(
    "places",
    [
        PLACES,
        PLACES.T,
        PLACES.flatten(),
        PLACES.flatten()[None],
        PLACES[:, None].expand(3, 2, 4),
        PLACES[:, :, None].expand(3, 4, 2),
        PLACES.T[:, None].expand(4, 2, 3),
        PLACES[None, :, None].expand(2, 3, 5, 4),
    ],
    ids=[
        "batch, tokens",
        "tokens, batch",
        "batch·tokens",
        "1, batch·tokens",
        "batch, heads, tokens",
        "batch, tokens, heads",
        "tokens, heads, batch",
        "depth, batch, heads, tokens",
    ],
)
def test_padding_is_left_out_of_every_shape(places: Tensor):
    expected = places.flatten()[MASK.flatten()[places.flatten()] == 1]
    found = real_part(places[..., None], masks())
    assert found[:, 0].tolist() == expected.tolist()


@pytest.mark.parametrize(
    "leading", [(3,), (8,), (1, 8), (5, 6), (), (3, 5)], ids=lambda lead: str(lead)
)
def test_one_row_per_example_and_packed_rows_all_count(leading: tuple[int, ...]):
    assert real_rows(masks(), leading) is None
    x = torch.zeros(*leading, 2)
    assert real_part(x, masks()) is x


def test_where_batch_and_tokens_are_equal_the_batch_comes_first():
    square = torch.tensor([[1, 0], [1, 1]])
    assert real_rows(masks(square), (2, 2)).tolist() == [True, False, True, True]


def test_a_mask_without_padding_changes_nothing():
    assert real_rows(masks(torch.ones(3, 4)), (3, 4)) is None
    assert real_rows((), (3, 4)) is None


@pytest.mark.parametrize("key", ["attention_mask", "decoder_attention_mask"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float32])
def test_an_attention_mask_is_one_where_a_token_is_real(key: str, dtype: torch.dtype):
    assert torch.equal(masks_of({key: MASK.to(dtype)})[0], MASK == 1)


@pytest.mark.parametrize("key", ["key_padding_mask", "src_key_padding_mask"])
def test_a_key_padding_mask_is_true_where_a_token_is_none(key: str):
    added = torch.zeros(3, 4).masked_fill(MASK == 0, -torch.inf)
    for mask in (MASK == 0, added):
        assert torch.equal(masks_of({key: mask})[0], MASK == 1)


def test_what_is_no_mask_of_padding():
    attends = torch.ones(3, 1, 4, 4)
    assert masks_of({"attention_mask": attends, "src_mask": MASK, "input_ids": MASK}) == ()
    assert masks_of(MASK) == masks_of((MASK, MASK)) == masks_of({"attention_mask": None}) == ()


def test_of_two_masks_that_fit_both_must_call_it_padding():
    other = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]])
    both = masks_of({"attention_mask": MASK, "decoder_attention_mask": other})
    assert torch.equal(real_rows(both, (3, 4)), ((MASK + other) > 0).flatten())
    longer = torch.ones(3, 6)
    both = masks_of({"attention_mask": MASK, "decoder_attention_mask": longer})
    assert torch.equal(real_rows(both, (3, 4)), MASK.flatten() == 1)
    assert real_rows(both, (3, 6)) is None
