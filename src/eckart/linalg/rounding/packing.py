"""Codes of 2 to 8 bits as bytes without gaps.

A tensor is one stream of bits, lowest first: code k has the bits from k · bits on. It takes
``ceil(n · bits / 8)`` bytes. Rows are not padded, because the rows of small kernels would grow by a
fifth. A row that holds a multiple of 8 codes still starts at a whole byte.
"""

from __future__ import annotations

import math
from numbers import Integral

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn.functional import pad

from eckart.errors import InputError
from eckart.records.code_sizes import packed_bytes
from eckart.records.pieces import WIDTHS

_GROUP = 8  # codes, which fill as many bytes as a code has bits


def pack(codes: Tensor, bits: int) -> UInt8[Tensor, " bytes"]:
    """The bytes of codes of any shape, in row-major order.

    Raises:
        InputError: an unknown width, another dtype than uint8, or a code that is too large.

    Cost: O(n).

    Example:
        >>> pack(torch.tensor([1, 2, 3], dtype=torch.uint8), bits=4).tolist()
        [33, 3]
    """
    check_bits(bits)
    if codes.dtype != torch.uint8:
        raise InputError(f"codes are {codes.dtype}; expected torch.uint8")
    if codes.numel() and int(codes.max()) >= 2**bits:
        raise InputError(f"code {int(codes.max())} does not fit {bits} bits")
    flat = codes.reshape(-1)
    missing = -len(flat) % _GROUP
    groups = pad(flat, (0, missing)).view(-1, _GROUP)
    packed = codes.new_zeros(len(groups), bits)
    for place in range(_GROUP):
        byte, shift = divmod(place * bits, 8)
        packed[:, byte] |= groups[:, place] << shift
        if shift + bits > 8:
            packed[:, byte + 1] |= groups[:, place] >> (8 - shift)
    return packed.view(-1)[: packed_bytes(len(flat), bits)].clone()


def unpack(packed: Tensor, bits: int, shape: tuple[int, ...]) -> UInt8[Tensor, "..."]:
    """The codes of a tensor of the given shape; the inverse of `pack`.

    Raises:
        InputError: an unknown width, another dtype than uint8, a number of bytes that does not fit
            the shape, or a last byte with bits that belong to no code.

    Cost: O(n).

    Example:
        >>> unpack(torch.tensor([33, 3], dtype=torch.uint8), bits=4, shape=(3,)).tolist()
        [1, 2, 3]
    """
    check_bits(bits)
    _checked_count(packed, bits, shape)
    return unpacked(packed, bits, shape)


def unpacked(packed: Tensor, bits: int, shape: tuple[int, ...]) -> UInt8[Tensor, "..."]:
    """The same without checks: tensor operations alone, so that it can be traced and exported."""
    count = math.prod(shape)
    groups = -(-count // _GROUP)
    stream = pad(packed, (0, groups * bits - packed.shape[0])).view(-1, bits)
    codes = []
    for place in range(_GROUP):
        byte, shift = divmod(place * bits, 8)
        code = stream[:, byte] >> shift
        if shift + bits > 8:
            code = code | (stream[:, byte + 1] << (8 - shift))
        codes.append(code & (2**bits - 1))
    return torch.stack(codes, 1).view(-1)[:count].reshape(shape)


def check_bits(bits: int) -> None:
    """Check a width.

    Raises:
        InputError: it is not an integer from 2 to 8.
    """
    if not isinstance(bits, Integral) or bits not in WIDTHS:
        raise InputError(f"bits={bits!r}: expected one of {', '.join(map(str, WIDTHS))}")


def _checked_count(packed: Tensor, bits: int, shape: tuple[int, ...]) -> int:
    """The number of codes, if the bytes are exactly theirs."""
    if packed.dtype != torch.uint8 or packed.ndim != 1:
        got = f"{packed.dtype} of shape {tuple(packed.shape)}"
        raise InputError(f"packed codes are {got}; expected one axis of torch.uint8")
    if any(size < 0 for size in shape):
        raise InputError(f"shape {tuple(shape)} has a negative side")
    count = math.prod(shape)
    expected = packed_bytes(count, bits)
    if len(packed) != expected:
        needed = f"{count} codes of {bits} bits take {expected} bytes"
        raise InputError(f"{needed}, got {len(packed)}; the pack is truncated or of another weight")
    unused = expected * 8 - count * bits
    if unused and int(packed[-1]) >> (8 - unused):
        raise InputError(f"the last {unused} bits of the pack belong to no code; expected zeros")
    return count
