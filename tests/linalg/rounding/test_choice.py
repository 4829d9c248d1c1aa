"""Grids that are chosen, and the losses that are expected of them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from eckart.errors import InputError
from eckart.linalg import damped
from eckart.linalg.rounding import (
    Triangle,
    choose_grid,
    round_weight,
    stored_bytes,
    triangle,
    width_losses,
)
from random_moments import normal, second_moment

OUT, INPUTS = 64, 160


def problem(seed: int, out: int = OUT, unequal: float = 0.3) -> tuple[Tensor, Triangle, Triangle]:
    """A weight whose rows are of unequal size, with correlated moments."""
    rows = (unequal * normal(out, 1, seed=seed)).exp()
    moments = (damped(second_moment(1, n, seed=seed + n), 0.01)[0] for n in (INPUTS, out))
    return rows * normal(out, INPUTS, seed=seed + 1), *map(triangle, moments)


@pytest.mark.parametrize("span", [None, 32])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(
    ("bits", "least", "most"),
    [(2, 0.5, 1.8), (3, 0.8, 1.4), (4, 0.8, 1.2), (5, 0.8, 1.2), (6, 0.8, 1.2), (8, 0.8, 1.2)],
)
def test_the_loss_is_known_before_anything_is_rounded(
    bits: int, least: float, most: float, symmetric: bool, span: int | None
):
    for seed in range(2):
        weight, a, g = problem(seed)
        choice = choose_grid(weight, bits, span, a=a, g=g, symmetric=symmetric)
        measured = round_weight(weight, choice.grid, a=a, g=g).loss
        assert least * measured < choice.loss < most * measured
        for sides in ({"a": a}, {"g": g}):
            choice = choose_grid(weight, bits, span, symmetric=symmetric, **sides)
            measured = round_weight(weight, choice.grid, **sides).loss
            assert least * measured < choice.loss < most * measured


def test_all_widths_and_spans_are_those_of_the_grids():
    weight, a, g = problem(0)
    losses = width_losses(weight, a, g, bits=(2, 4), spans=(None, 32, 160))
    assert losses.shape == (2, 3)
    assert losses[1, 1] == choose_grid(weight, 4, 32, a=a, g=g).loss
    assert torch.equal(losses[:, 0], losses[:, 2])
    assert (losses[0] > 8 * losses[1]).all()
    assert (losses[:, 1] < losses[:, 0]).all()


@pytest.mark.parametrize("unequal", [0.0, 0.3])
def test_some_rows_of_a_tall_weight_speak_for_all(unequal: float):
    weight, a, g = problem(0, out=320, unequal=unequal)
    weight[::3] = 0.0  # no scale, no loss
    losses = width_losses(weight, a, g, bits=(2, 4), spans=(None, 32))
    grids = [[choose_grid(weight, b, s, a=a, g=g).loss for s in (None, 32)] for b in (2, 4)]
    torch.testing.assert_close(losses, torch.tensor(grids).double(), rtol=0.1, atol=0)
    assert not torch.equal(losses, torch.tensor(grids).double())
    assert not width_losses(torch.zeros_like(weight), a, g).any()


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_the_scales_lose_less_than_those_that_clip_nothing(bits: int):
    weight, a, g = problem(1)
    weight = weight**3  # a few are far larger than the rest
    grid = choose_grid(weight, bits, a=a, g=g).grid
    largest = weight.abs().amax(1, keepdim=True)
    plain = type(grid)((largest / 2 ** (bits - 1)).half(), None, bits, INPUTS)
    losses = [round_weight(weight, g_, a=a, g=g).loss for g_ in (grid, plain)]
    assert losses[0] < 0.8 * losses[1]


def test_the_scale_serves_the_inputs_that_count():
    """Both halves of a row want another scale; the better one is that of the half that counts."""
    weight = torch.cat([normal(1, 100, seed=0), 10 * normal(1, 100, seed=1)], 1)
    moments = (torch.cat([torch.full((100,), v), torch.full((100,), 1 / v)]) for v in (1e4, 1e-4))
    fine, coarse = (
        choose_grid(weight, 4, a=triangle(moment.double().diag())).grid.scale.abs().item()
        for moment in moments
    )
    assert fine < 0.5 * coarse


def test_a_grid_is_what_is_stored():
    weight = normal(8, 20, seed=0)
    grid = choose_grid(weight, 4, 8, symmetric=False).grid
    assert grid.scale.dtype == torch.float16
    assert grid.scale.shape == (8, 3)
    assert grid.zero is not None
    assert grid.zero.dtype == torch.uint8
    codes = round_weight(weight, grid).codes
    row = (codes[3, 8:16].float() - float(grid.zero[3, 1])) * float(grid.scale[3, 1])
    assert torch.equal(grid.values(codes)[3, 8:16], row)


def test_bytes_are_those_of_codes_scales_and_zeros():
    assert stored_bytes(64, 576, 3) == 64 * 576 * 3 // 8 + 64 * 2
    assert stored_bytes(3, 9, 3, 4) == 11 + 3 * 3 * 2
    assert stored_bytes(3, 9, 3, 4, symmetric=False) == 11 + 3 * 3 * 3


@given(
    bits=st.integers(2, 8), span=st.sampled_from([None, 1, 4, 100]), symmetric=st.booleans(),
    size=st.sampled_from([1.0, 1e-7, 1e-20, 1e9]),
)  # fmt: skip
@settings(max_examples=20)
def test_rows_of_zeros_and_of_constants_and_very_small_and_large_ones(
    bits: int, span: int | None, symmetric: bool, size: float
):
    weight = torch.stack([torch.zeros(9), torch.full((9,), 3.0), -torch.arange(9.0)]).double()
    sides = {name: triangle(second_moment(1, n, seed=n)[0]) for name, n in (("a", 9), ("g", 3))}
    choice = choose_grid(weight * size, bits, span, symmetric=symmetric, **sides)
    found = round_weight(weight * size, choice.grid, **sides).weight.double() / size
    assert torch.equal(found[0], torch.zeros(9).double())
    assert torch.isfinite(found).all()
    assert torch.isfinite(choice.grid.scale).all()
    if bits == 8:
        half = round_weight(weight * size, choose_grid(weight * size, 8, span).grid)
        torch.testing.assert_close(half.weight.double() / size, weight, rtol=0, atol=0.05)


def test_scales_leave_float16_where_it_would_be_subnormal_or_too_small():
    weight = normal(4, 9, seed=0)
    for size, dtype in ((1.0, "float16"), (1e-5, "bfloat16"), (1e7, "bfloat16")):
        grid = choose_grid(weight * size, 4).grid
        assert grid.scale.dtype == getattr(torch, dtype)
    assert choose_grid(weight, 4, dtype=torch.float32).grid.scale.dtype == torch.float32


def test_moments_of_zero_expect_no_loss():
    weight = normal(4, 9, seed=0)
    sides = {"a": triangle(damped(torch.zeros(9, 9), 0.01)), "g": triangle(torch.eye(4))}
    choice = choose_grid(weight, 4, **sides)
    assert 0 <= choice.loss < 1e-20
    assert round_weight(weight, choice.grid, **sides).loss < 1e-20


@pytest.mark.parametrize(("span", "bits"), [(0, 4), (-1, 4), (None, 1), (None, 16)])
def test_unknown_widths_and_spans_are_refused(span: int | None, bits: int):
    with pytest.raises(InputError, match=f"span={span}" if bits == 4 else f"bits={bits}"):
        choose_grid(normal(4, 9, seed=0), bits, span)
