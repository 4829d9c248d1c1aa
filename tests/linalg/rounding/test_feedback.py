"""Rounding with feedback against a plain loop over entries, and what it must never do."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from eckart.errors import InputError, NonFiniteError
from eckart.linalg import damped, quadratic_loss
from eckart.linalg.rounding import Grid, Triangle, choose_grid, round_weight, triangle
from random_moments import normal, second_moment

sides = st.integers(1, 9)


def in_a_loop(weight: Tensor, grid: Grid, a: Tensor, g: Tensor) -> Tensor:
    """The codes of one matrix, by the definition: E is updated entry by entry."""
    codes, lost = torch.zeros_like(weight), torch.zeros_like(weight)
    scale, zero = (grid.over(weight.shape[1], v.double()) for v in (grid.scale, grid.origin))
    unit_a, unit_g = (torch.linalg.cholesky(m) for m in (a, g))
    unit_a, unit_g = (lower / lower.diagonal() for lower in (unit_a, unit_g))
    for j in reversed(range(weight.shape[1])):
        for i in reversed(range(weight.shape[0])):
            target = weight[i, j] + unit_g[:, i] @ lost @ unit_a[:, j]
            codes[i, j] = (target / scale[i, j] + zero[i, j]).round().clamp(0, grid.top)
            lost[i, j] = weight[i, j] - (codes[i, j] - zero[i, j]) * scale[i, j]
    return codes.to(torch.uint8)


def moment(n: int, seed: int, damping: float = 0.1) -> Tensor:
    return damped(second_moment(1, n, seed=seed), damping)[0]


def either(n: int, seed: int, kind: str) -> tuple[Tensor, Triangle | None]:
    """A moment and its triangle: the identity, as None or as a matrix, or a full one."""
    if kind == "none":
        return torch.eye(n, dtype=torch.float64), None
    found = torch.eye(n, dtype=torch.float64) if kind == "identity" else moment(n, seed)
    return found, triangle(found, ordered=False)


@given(
    out=sides,
    inputs=sides,
    bits=st.sampled_from([2, 3, 4, 8]),
    kinds=st.tuples(*[st.sampled_from(["none", "identity", "full"])] * 2),
    span=st.sampled_from([None, 1, 5]),
    symmetric=st.booleans(),
)
@settings(max_examples=30)
def test_it_is_the_plain_loop(
    out: int, inputs: int, bits: int, kinds: tuple[str, str], span: int | None, symmetric: bool
):
    weight = normal(out, inputs, seed=out + inputs)
    (a, over), (g, under) = either(inputs, 1, kinds[0]), either(out, 2, kinds[1])
    grid = choose_grid(weight, bits, span, a=over, g=under, symmetric=symmetric).grid
    found = round_weight(weight, grid, a=over, g=under)
    assert torch.equal(found.codes, in_a_loop(weight, grid, a, g))


@pytest.mark.parametrize(("out", "inputs"), [(66, 65), (130, 5), (3, 140)])
def test_it_is_the_plain_loop_over_several_tiles(out: int, inputs: int):
    weight, a, g = normal(out, inputs, seed=0), moment(inputs, 1), moment(out, 2)
    over, under = (triangle(found, ordered=False) for found in (a, g))
    grid = choose_grid(weight, 4).grid
    both = round_weight(weight, grid, a=over, g=under)
    assert torch.equal(both.codes, in_a_loop(weight, grid, a, g))
    one = round_weight(weight, grid, a=over)
    assert torch.equal(one.codes, in_a_loop(weight, grid, a, torch.eye(out, dtype=torch.float64)))


@given(groups=st.integers(1, 3), out=sides, inputs=sides, bits=st.sampled_from([2, 4]))
@settings(max_examples=30)
def test_each_group_and_each_order_is_a_problem_of_its_own(
    groups: int, out: int, inputs: int, bits: int
):
    weight = normal(groups, out, inputs, seed=0)
    a, g = (damped(second_moment(groups, n, seed=n), 0.1) for n in (inputs, out))
    over, under = triangle(a), triangle(g)
    grid = choose_grid(weight, bits, 4, a=over, g=under).grid
    found = round_weight(weight, grid, a=over, g=under)
    for group in range(groups):
        rows, columns = under.order[group], over.order[group]
        scale = grid.over(inputs, grid.scale[group])[rows][:, columns]
        ordered = Grid(scale, None, bits, 1)
        moments = a[group][columns][:, columns], g[group][rows][:, rows]
        codes = in_a_loop(weight[group][rows][:, columns], ordered, *moments)
        assert torch.equal(found.codes[group][rows][:, columns], codes)


@given(out=sides, inputs=sides, bits=st.integers(2, 8), symmetric=st.booleans())
@settings(max_examples=30)
def test_the_loss_is_that_of_the_weight_that_comes_out(
    out: int, inputs: int, bits: int, symmetric: bool
):
    weight = normal(2, out, inputs, seed=0)
    a, g = (damped(second_moment(2, n, seed=n), 0.01) for n in (inputs, out))
    over, under = triangle(a), triangle(g)
    grid = choose_grid(weight, bits, 3, a=over, g=under, symmetric=symmetric).grid
    found = round_weight(weight, grid, a=over, g=under)
    assert found.codes.max() <= 2**bits - 1
    expected = quadratic_loss(weight - found.weight, a, g)
    assert found.loss == pytest.approx(expected, rel=1e-4, abs=1e-12)


def test_without_moments_every_entry_goes_to_the_nearest_value():
    weight = normal(6, 20, seed=0)
    found = round_weight(weight, choose_grid(weight, 3, 8).grid)
    for code in range(8):
        values = found.grid.values(torch.full((6, 20), code, dtype=torch.uint8))
        assert ((weight - found.weight).abs() <= (weight - values).abs() + 1e-6).all()


def test_feedback_from_both_sides_loses_less_than_from_one_and_that_less_than_none():
    weight, a, g = normal(40, 80, seed=0), moment(80, 1, 0.01), moment(40, 2, 0.01)
    over, under = triangle(a), triangle(g)
    losses = []
    for sides in ({}, {"a": over}, {"a": over, "g": under}):
        found = round_weight(weight, choose_grid(weight, 4, **sides).grid, **sides)
        losses.append(quadratic_loss(weight - found.weight, a, g))
    assert losses[1] < 0.8 * losses[0]
    assert losses[2] < 0.8 * losses[1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_weights_of_lower_precision_are_rounded(dtype: torch.dtype):
    weight = normal(4, 9, seed=0).to(dtype)
    sides = {"a": triangle(moment(9, 1)), "g": triangle(moment(4, 2))}
    found = round_weight(weight, choose_grid(weight, 8, **sides).grid, **sides)
    assert found.weight.dtype == torch.float32
    torch.testing.assert_close(found.weight, weight.float(), rtol=0, atol=0.1)


def test_shapes_that_do_not_fit_are_refused():
    weight = normal(4, 9, seed=0)
    grid = choose_grid(weight, 4, 3).grid
    with pytest.raises(InputError, match=r"the grid has scales of shape \(4, 3\).* \(5, 3\)"):
        round_weight(normal(5, 9, seed=0), grid)
    with pytest.raises(InputError, match=r"a is a triangle of \(4,\); the weight needs \(9,\)"):
        round_weight(weight, grid, a=triangle(moment(4, 1)))
    with pytest.raises(NonFiniteError):
        round_weight(weight / 0, grid)
