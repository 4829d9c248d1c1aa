"""Codes packed without gaps, and packs that are not what they claim to be."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eckart.errors import InputError
from eckart.linalg.rounding import pack, packed_bytes, unpack
from random_moments import seeded

widths = st.integers(2, 8)


def codes_of(bits: int, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 2**bits, shape, dtype=torch.uint8, generator=seeded(seed))


@given(bits=widths, shape=st.lists(st.integers(0, 9), max_size=3), seed=st.integers(0, 99))
def test_unpacking_gives_the_codes_back(bits: int, shape: list[int], seed: int):
    codes = codes_of(bits, *shape, seed=seed)
    packed = pack(codes, bits)
    assert len(packed) == packed_bytes(codes.numel(), bits) == -(-codes.numel() * bits // 8)
    assert torch.equal(unpack(packed, bits, tuple(shape)), codes)


@given(bits=widths, count=st.integers(1, 40))
def test_the_bytes_are_one_stream_of_bits_lowest_first(bits: int, count: int):
    codes = codes_of(bits, count)
    stream = sum(int(code) << (k * bits) for k, code in enumerate(codes))
    expected = stream.to_bytes(packed_bytes(count, bits), "little")
    assert bytes(pack(codes, bits).tolist()) == expected


def test_codes_that_are_strided_are_packed_in_row_major_order():
    codes = codes_of(3, 5, 7)
    assert torch.equal(pack(codes.T, 3), pack(codes.T.contiguous(), 3))


@pytest.mark.parametrize("bits", [-1, 0, 1, 9, 17, True])
def test_unknown_widths_are_refused(bits: int):
    codes = torch.zeros(8, dtype=torch.uint8)
    for refused in (lambda: pack(codes, bits), lambda: unpack(codes, bits, (8,))):
        with pytest.raises(InputError, match="expected one of 2, 3, 4, 5, 6, 7, 8"):
            refused()


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.float32])
def test_other_dtypes_are_refused(dtype: torch.dtype):
    with pytest.raises(InputError, match=r"expected torch\.uint8"):
        pack(torch.zeros(8, dtype=dtype), 4)
    with pytest.raises(InputError, match=r"expected one axis of torch\.uint8"):
        unpack(torch.zeros(4, dtype=dtype), 4, (8,))


def test_codes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="code 8 does not fit 3 bits"):
        pack(torch.tensor([7, 8], dtype=torch.uint8), 3)


@pytest.mark.parametrize("length", [0, 5, 7])
def test_a_pack_of_another_length_is_refused(length: int):
    with pytest.raises(InputError, match=f"15 codes of 3 bits take 6 bytes, got {length}"):
        unpack(torch.zeros(length, dtype=torch.uint8), 3, (3, 5))


def test_bits_that_belong_to_no_code_are_refused():
    packed = pack(codes_of(3, 15), 3)
    packed[-1] |= 128
    with pytest.raises(InputError, match="the last 3 bits of the pack belong to no code"):
        unpack(packed, 3, (3, 5))


def test_hostile_shapes_are_refused_before_anything_is_allocated():
    few = torch.zeros(3, dtype=torch.uint8)
    with pytest.raises(InputError, match="bytes, got 3"):
        unpack(few, 2, (2**40, 2**20))
    with pytest.raises(InputError, match="negative side"):
        unpack(few, 2, (-3, -4))
    with pytest.raises(InputError, match="expected one axis"):
        unpack(few[None], 2, (12,))
