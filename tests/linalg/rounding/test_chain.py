"""Factors of a chain: their moments against automatic differentiation, and what rounding loses."""

import math

import pytest
import torch
from torch import Tensor

from eckart.errors import InputError
from eckart.linalg import damped, quadratic_loss
from eckart.linalg.rounding import chain_losses, choose_grid, round_chain, round_weight, triangle
from eckart.linalg.rounding.chain import Chain, chain_of
from random_moments import normal, second_moment

CHAINS = {
    "pair": ("or,ri->oi", {"o": 9, "r": 4, "i": 12}),
    "separable": ("orx,rcy->ocyx", {"o": 6, "r": 2, "x": 3, "c": 3, "y": 2}),
    "tucker": ("op,pqk,qc->ock", {"o": 6, "p": 3, "q": 2, "k": 4, "c": 3}),
    "cp": ("or,rk,rc->ock", {"o": 6, "r": 5, "k": 4, "c": 3}),
}
each_chain = pytest.mark.parametrize("name", CHAINS)


def problem(name: str, noise: float = 0.1) -> dict:
    """Random factors of two groups, and a target near their product."""
    equation, sizes = CHAINS[name]
    left, _, result = equation.partition("->")
    shapes = [[2, *(sizes[letter] for letter in term)] for term in left.split(",")]
    factors = [normal(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    axes = [sizes[letter] for letter in result]
    target = normal(2, *axes, seed=9)
    a = damped(second_moment(2, math.prod(axes[1:]), seed=5), 0.01)
    g = damped(second_moment(2, axes[0], seed=6), 0.01)
    chain, _ = chain_of(equation, factors, target, a, g)
    target = chain.product(factors) + noise * target
    return {"factors": factors, "equation": equation, "target": target, "a": a, "g": g}


def opened(name: str) -> tuple[Chain, list[Tensor]]:
    given = problem(name)
    return chain_of(*(given[key] for key in ("equation", "factors", "target", "a", "g")))


def loss_in(chain: Chain, factors: list[Tensor], at: int, factor: Tensor) -> Tensor:
    """The loss as a function of one factor that gradients pass through."""
    others = [*factors[:at], factor, *factors[at + 1 :]]
    lost = (chain.target - chain.product(others)).flatten(2)
    a = chain.a.reshape(2, lost.shape[2], lost.shape[2])
    return 0.5 * ((chain.g @ lost @ a) * lost).sum()


@each_chain
def test_the_moments_are_the_second_derivative(name: str):
    chain, factors = opened(name)
    for at, factor in enumerate(factors):
        found = torch.autograd.functional.hessian(
            lambda x, at=at: loss_in(chain, factors, at, x), factor
        ).reshape(factor.numel(), -1)
        a, g = chain.moments(factors, at)
        product = torch.block_diag(*(torch.kron(g[group], a[group]) for group in range(2)))
        if chain.positions(at):  # only the marginals are
            rows, columns = g.shape[1], a.shape[1]
            for group, part in enumerate(
                (slice(None, rows * columns), slice(rows * columns, None))
            ):
                form = found[part, part].reshape(rows, columns, rows, columns)
                traces = torch.einsum("rcsc->rs", form), torch.einsum("rcrd->cd", form)
                torch.testing.assert_close(g[group] * a[group].trace(), traces[0])
                torch.testing.assert_close(a[group] * g[group].trace(), traces[1])
        else:
            torch.testing.assert_close(product, found)


@each_chain
def test_a_solved_factor_cannot_be_bettered(name: str):
    chain, factors = opened(name)
    for at in range(len(factors) - 1):
        if chain.positions(at):
            continue
        solved = chain.solved(factors, at).requires_grad_()
        (slope,) = torch.autograd.grad(loss_in(chain, factors, at, solved), solved)
        before = factors[at].clone().requires_grad_()
        (steep,) = torch.autograd.grad(loss_in(chain, factors, at, before), before)
        assert slope.norm() < 1e-5 * steep.norm()


@each_chain
def test_shared_scales_do_not_change_the_product(name: str):
    chain, factors = opened(name)
    for at in range(len(factors)):
        scaled = chain.with_shared_scales(factors, at)
        torch.testing.assert_close(chain.product(scaled), chain.product(factors))


@each_chain
@pytest.mark.parametrize("symmetric", [True, False])
def test_the_loss_is_that_of_the_product_of_what_is_stored(name: str, symmetric: bool):
    given = problem(name)
    for bits in (3, 8):
        found = round_chain(**given, bits=[bits] * len(given["factors"]), symmetric=symmetric)
        chain, factors = opened(name)
        stored = [
            rounded.weight.double().reshape(factor.shape)
            for rounded, factor in zip(found.factors, factors, strict=True)
        ]
        lost = (given["target"] - chain.product(stored)).flatten(2)
        assert found.loss == pytest.approx(quadratic_loss(lost, given["a"], given["g"]), rel=1e-9)
        for rounded, factor in zip(found.factors, factors, strict=True):
            assert rounded.codes.shape == factor.flatten(2).shape
            assert rounded.grid.scale.shape == (*factor.shape[:2], 1)
            assert int(rounded.codes.max()) < 2**bits


@each_chain
def test_at_8_bits_a_chain_loses_little_more_than_the_best_last_factor_leaves(name: str):
    given = problem(name)
    chain, factors = opened(name)
    best = chain.loss([chain.solved(factors, 0), *factors[1:]])
    assert round_chain(**given, bits=[8] * len(factors)).loss < 1.05 * best


def test_later_factors_take_up_what_earlier_ones_lose():
    """Against rounding each factor under the moments of the chain as it was."""
    given = problem("cp", noise=0.0)
    chain, factors = opened("cp")
    rounded = []
    for at, factor in enumerate(factors):
        a, g = (triangle(moment) for moment in chain.moments(factors, at))
        weight = factor.reshape(2, g.diagonal.shape[1], -1)
        span = factor.shape[2] if at == 1 else None
        grid = choose_grid(weight, 4, span, a=a, g=g).grid
        rounded.append(round_weight(weight, grid, a=a, g=g).weight.double().reshape(factor.shape))
    lost = (given["target"] - chain.product(rounded)).flatten(2)
    alone = quadratic_loss(lost, given["a"], given["g"])
    assert round_chain(**given, bits=[4, 4, 4]).loss < 0.7 * alone


@pytest.mark.parametrize(("name", "within"), [("pair", 1.5), ("cp", 2.5)])
def test_the_loss_of_a_chain_is_known_before(name: str, within: float):
    given = problem(name, noise=0.0)
    for bits in (5, 6):
        expected = chain_losses(**given, bits=(bits,))
        assert expected.shape == (len(given["factors"]), 1, 1)
        found = round_chain(**given, bits=[bits] * len(expected)).loss
        assert found / within < float(expected.sum()) < found * within


def test_factors_may_have_zero_rows():
    given = problem("pair", noise=0.0)
    given["factors"][1][:, 2] = 0
    found = round_chain(**given, bits=[8, 8])
    assert math.isfinite(found.loss)
    assert torch.equal(found.factors[0].weight[:, :, 2], torch.zeros(2, 9))


@each_chain
def test_a_group_of_zeros_loses_nothing(name: str):
    given = problem(name, noise=0.0)
    other = dict(given)
    other["factors"] = [torch.cat([f[:1], torch.zeros_like(f[:1])]) for f in given["factors"]]
    other["target"] = torch.cat([given["target"][:1], torch.zeros_like(given["target"][:1])])
    alone = {key: value if key == "equation" else value[:1] for key, value in given.items()}
    alone["factors"] = [f[:1] for f in given["factors"]]
    assert torch.allclose(chain_losses(**other, bits=(3, 8)), chain_losses(**alone, bits=(3, 8)))
    found = round_chain(**other, bits=[8] * len(other["factors"]))
    assert all(torch.count_nonzero(factor.weight[1]) == 0 for factor in found.factors)


def test_what_does_not_fit_is_refused():
    given = problem("pair")
    with pytest.raises(InputError, match="1 widths for 2 factors"):
        round_chain(**given, bits=[4])
    for equation in ("or,ri->io", "or,ri,ix->ox", "or->or", "OR,RI->OI", "zr,ri->zi", "or,rr->oi"):
        with pytest.raises(InputError, match="does not fit factors and target"):
            round_chain(**{**given, "equation": equation}, bits=[4, 4])
    with pytest.raises(InputError, match="a has shape"):
        round_chain(**{**given, "a": given["g"]}, bits=[4, 4])
