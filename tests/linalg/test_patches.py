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
    axes = len(window.kernel)
    padded = F.pad(x, [window.padding[axis] for axis in reversed(range(axes)) for _ in range(2)])
    for axis, (k, step, apart) in enumerate(
        zip(window.kernel, window.stride, window.dilation, strict=False)
    ):
        padded = padded.unfold(2 + axis, apart * (k - 1) + 1, step)[..., ::apart]
    rows = padded.permute(1, *range(2 + axes, 2 + 2 * axes), 0, *range(2, 2 + axes))
    return rows.reshape(window.groups, x.shape[1] // window.groups * window.taps, -1)


def assert_moments_match(x: Tensor, window: Window) -> None:
    patches = unfolded(x, window)
    close = tolerance(x.dtype)
    torch.testing.assert_close(patch_gram(x, window), patches @ patches.mT, **close)
    torch.testing.assert_close(patch_total(x, window), patches.sum(2), **close)


@st.composite
def geometries(draw: st.DrawFn) -> tuple[list[tuple[int, ...]], list[int]]:
    """Kernel, stride, padding and dilation of one to three axes, and the size of a map."""
    axes = draw(st.integers(1, 3))
    ranges = [(1, 4), (1, 3), (0, 4), (1, 3)] if axes < 3 else [(1, 3), (1, 2), (0, 2), (1, 2)]
    numbers = [tuple(draw(st.integers(*r)) for _ in range(axes)) for r in ranges]
    return numbers, [draw(st.integers(1, 7)) for _ in range(axes)]


@given(
    geometry=geometries(),
    n=st.integers(1, 3),
    groups=st.integers(1, 3),
    channels=st.sampled_from([1, 2, 8, 9]),
)
def test_any_geometry_equals_unfold(geometry, n, groups, channels):
    """Any window that fits at least once into a padded map of the drawn size."""
    numbers, size = geometry
    window = Window(*numbers, groups)
    assume(all(window.positions(axis, pixels) >= 1 for axis, pixels in enumerate(size)))
    assert_moments_match(normal(n, groups * channels, *size, seed=0), window)


@pytest.mark.parametrize("channels", [3, 8])
@pytest.mark.parametrize(
    ("window", "size"),
    [
        (Window((9,), padding=(4,)), (30,)),
        (Window((9,), stride=(4,)), (30,)),
        (Window((9,), dilation=(2,), padding=(20,)), (5,)),
        (Window((9, 1)), (30, 1)),
        (Window((1, 9), padding=(0, 8)), (3, 30)),
        (Window((2, 6), stride=(1, 2)), (5, 20)),
        (Window((33,), padding=(4,)), (40,)),
        (Window((3, 3, 3), padding=(1, 1, 1)), (4, 3, 5)),
        (Window((3, 1, 1), padding=(1, 0, 0)), (4, 3, 5)),
        (Window((1, 3, 3), stride=(2, 2, 2), padding=(1, 1, 1)), (4, 3, 5)),
        (Window((3, 3, 2), stride=(1, 1, 2), dilation=(1, 2, 1)), (4, 5, 6)),
    ],
    ids=str,
)
def test_one_and_three_axes_and_long_kernels(window: Window, size: tuple[int, ...], channels: int):
    assert_moments_match(normal(2, channels, *size, seed=1), window)


def test_long_kernels_do_not_lose_precision():
    """A window is known from the one before; 32 steps later it is as exact as the first."""
    x, window = normal(4, 8, 300, seed=6), Window((32,))
    exact = patch_gram(x, window)
    ours = patch_gram(x.float(), window).double()
    assert float((ours - exact).abs().max() / exact.abs().max()) < 2e-7


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
