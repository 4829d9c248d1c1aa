"""Patch moments against an explicit unfold."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from eckart.linalg import Window, patch_gram, patch_total, row_gram
from random_moments import normal
from tolerances import tolerance


def unfolded(x: Tensor, window: Window) -> Tensor:
    """All patches, shape (groups, patch, rows)."""
    rows = F.unfold(x, window.kernel, window.dilation, window.padding, window.stride)
    return rows.unflatten(1, (window.groups, -1)).permute(1, 2, 0, 3).flatten(2)


def assert_moments_match(x: Tensor, window: Window) -> None:
    patches = unfolded(x, window)
    close = tolerance(x.dtype)
    torch.testing.assert_close(patch_gram(x, window), patches @ patches.mT, **close)
    torch.testing.assert_close(patch_total(x, window), patches.sum(2), **close)


def pairs(least: int, most: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(least, most), st.integers(least, most))


@st.composite
def geometries(draw: st.DrawFn) -> tuple[Window, tuple[int, int]]:
    """Any window that fits at least once into a padded map of the drawn size."""
    window = Window(draw(pairs(1, 4)), draw(pairs(1, 3)), draw(pairs(0, 4)), draw(pairs(1, 3)))
    size = draw(pairs(1, 7))
    assume(all(window.positions(axis, n) >= 1 for axis, n in enumerate(size)))
    return window, size


@given(
    geometry=geometries(),
    n=st.integers(1, 3),
    groups=st.integers(1, 3),
    channels=st.sampled_from([1, 2, 8, 9]),
)
def test_any_geometry_equals_unfold(geometry, n, groups, channels):
    window, size = geometry
    window = Window(window.kernel, window.stride, window.padding, window.dilation, groups)
    assert_moments_match(normal(n, groups * channels, *size, seed=0), window)


@pytest.mark.parametrize("channels", [3, 8, 16])
@pytest.mark.parametrize(
    ("window", "size"),
    [
        (Window((3, 3), padding=(1, 1)), (6, 5)),
        (Window((3, 3), padding=(1, 1), stride=(2, 2)), (6, 6)),
        (Window((3, 3), padding=(1, 1), stride=(2, 1)), (6, 5)),
        (Window((3, 3), padding=(2, 2), dilation=(2, 2)), (3, 3)),
        (Window((3, 3), padding=(4, 4), dilation=(4, 4)), (2, 3)),
        (Window((3, 3), padding=(1, 1)), (1, 1)),
        (Window((5, 5), padding=(4, 4)), (1, 1)),
        (Window((5, 2), padding=(3, 0)), (3, 4)),
        (Window((4, 2), (1, 2), (2, 4), (2, 1)), (3, 3)),
        (Window((4, 4), (1, 1), (4, 5), (2, 3)), (3, 1)),
        (Window((1, 4), (2, 1), (4, 5), (2, 3)), (2, 1)),
        (Window((1, 1)), (4, 3)),
        (Window((1, 1), stride=(2, 2), padding=(1, 1)), (4, 3)),
        (Window((1, 3), padding=(0, 5)), (4, 2)),
    ],
    ids=str,
)
def test_named_geometry_equals_unfold(window: Window, size: tuple[int, int], channels: int):
    assert_moments_match(normal(2, channels, *size, seed=1), window)


@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_equals_unfold(stride: int):
    window = Window((3, 3), (stride, stride), (1, 1), groups=6)
    assert_moments_match(normal(2, 6, 5, 7, seed=2), window)


def test_wide_layers_take_the_long_product():
    assert_moments_match(normal(1, 260, 3, 3, seed=3), Window((2, 2), padding=(1, 1)))


def test_float32_is_equal_to_rounding():
    x = normal(4, 16, 8, 8, seed=4).float()
    assert_moments_match(x, Window((3, 3), padding=(1, 1)))


@given(
    n=st.integers(1, 4), groups=st.integers(1, 3), c=st.integers(1, 5), positions=st.integers(1, 8)
)
def test_row_gram_equals_explicit_rows(n, groups, c, positions):
    rows = normal(n, groups, c, positions, seed=5)
    flat = rows.permute(1, 2, 0, 3).flatten(2)
    torch.testing.assert_close(row_gram(rows), flat @ flat.mT, **tolerance(rows.dtype))
