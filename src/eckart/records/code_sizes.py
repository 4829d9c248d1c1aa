"""How many bytes a weight takes in codes of few bits: the one formula."""

from __future__ import annotations


def packed_bytes(count: int, bits: int) -> int:
    """How many bytes a number of codes takes without gaps.

    Example:
        >>> packed_bytes(9, bits=3)
        4
    """
    return -(-count * bits // 8)


def stored_bytes(
    rows: int, columns: int, bits: int, span: int | None = None, *, symmetric: bool = True
) -> int:
    """Bytes of a matrix in codes: codes without gaps, two bytes per scale, one per code of zero.

    Args:
        rows: of the matrix.
        columns: of the matrix.
        bits: of a code.
        span: how many columns share a scale; None is a whole row.
        symmetric: whether the code of zero is known, so that none is stored.

    Example:
        >>> stored_bytes(64, 576, bits=3, span=64)  # 13,824 of codes, 64 · 9 scales
        14976
    """
    scales = rows * -(-columns // min(span or columns, columns))
    return packed_bytes(rows * columns, bits) + scales * (2 if symmetric else 3)
