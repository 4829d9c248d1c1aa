"""Bad matrices are refused everywhere with a word on what is wrong; odd ones are not."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Tensor

from eckart.errors import InputError, NonFiniteError
from eckart.linalg import (
    Reader,
    adaptive_range,
    alternating_least_squares,
    backward_elimination,
    damped,
    effective_rank,
    energy_rank,
    factor,
    frobenius_gradients,
    gavish_donoho_rank,
    gradient_refinement,
    largest_eigenvalue,
    nested_losses,
    nested_removal_losses,
    numerical_rank,
    output_projection,
    quadratic_loss,
    randomized_svd,
    range_error_bound,
    range_finder,
    rayleigh_gradient,
    rayleigh_hessian,
    rayleigh_quotient,
    refit,
    roots,
    separable_factors,
    stable_rank,
    subspace_iteration,
    truncated_svd,
    variational_rank,
    weighted_components,
    weighted_gradients,
)

EYE, COLUMN = torch.eye(4), torch.ones(4, 1)
TAKERS: dict[str, Callable[[Tensor], Any]] = {  # every function, of a square symmetric matrix
    "randomized_svd": lambda x: randomized_svd(x, 2),
    "range_finder": lambda x: range_finder(x, 2),
    "subspace_iteration": lambda x: subspace_iteration(x, 2, 1),
    "adaptive_range": lambda x: adaptive_range(x, 0.1),
    "range_error_bound": lambda x: range_error_bound(x, COLUMN / 2),
    "weighted_components": lambda x: weighted_components(x, EYE, EYE, 1),
    "weighted_components, a": lambda x: weighted_components(EYE, x, EYE, 1),
    "frobenius_gradients": lambda x: frobenius_gradients(x, COLUMN, torch.ones(1, 1), COLUMN.mT),
    "weighted_gradients": lambda x: weighted_gradients(EYE, EYE, x, COLUMN, COLUMN.mT),
    "alternating": lambda x: alternating_least_squares(x, EYE, EYE, COLUMN, COLUMN.mT),
    "refinement": lambda x: gradient_refinement(x, EYE, EYE, COLUMN, COLUMN.mT),
    "quotient": lambda x: rayleigh_quotient(x, torch.ones(4)),
    "gradient": lambda x: rayleigh_gradient(x, torch.ones(4)),
    "hessian": lambda x: rayleigh_hessian(x, torch.ones(4)),
    "largest_eigenvalue": lambda x: largest_eigenvalue(x),
}
each_taker = pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS.keys())
GOOD = torch.diag(torch.tensor([4.0, 3.0, 2.0, 1.0]))
BAD = {
    "nan": (GOOD.clone().fill_(float("nan")), NonFiniteError, "NaN or infinity"),
    "inf": (GOOD / 0, NonFiniteError, "NaN or infinity"),
    "empty": (torch.ones(0, 4), InputError, "empty"),
    "cube": (torch.ones(4, 4, 4), InputError, "two dimensions"),
    "complex": (GOOD.to(torch.complex64), InputError, "complex64; expected real"),
    "integers": (GOOD.long(), InputError, "int64; expected real"),
    "booleans": (GOOD.bool(), InputError, "bool; expected real"),
    "meta": (GOOD.to("meta"), InputError, "meta device"),
}


@each_taker
@pytest.mark.parametrize(("matrix", "error", "message"), BAD.values(), ids=BAD.keys())
def test_bad_matrices_are_refused(take, matrix: Tensor, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        take(matrix)


ONE = EYE.double()[None]
STACKS: dict[str, Callable[[Tensor], Any]] = {  # of one group, a square symmetric float64 matrix
    "damped": lambda x: damped(x, 0.1),
    "roots": roots,
    "factor": factor,
    "quadratic_loss": lambda x: quadratic_loss(x, ONE, ONE),
    "quadratic_loss, a": lambda x: quadratic_loss(ONE, x, ONE),
    "quadratic_loss, g": lambda x: quadratic_loss(ONE, ONE, x),
    "output_projection": lambda x: output_projection(x, ONE, ONE),
    "output_projection, a": lambda x: output_projection(ONE, x),
    "output_projection, g": lambda x: output_projection(ONE, ONE, x),
    "truncated_svd": lambda x: truncated_svd(x, ONE, ONE),
    "truncated_svd, a": lambda x: truncated_svd(ONE, x, ONE),
    "nested_losses": lambda x: nested_losses(x, ONE, ONE, ONE),
    "nested_losses, g": lambda x: nested_losses(ONE, ONE, ONE, x),
    "separable_factors": lambda x: separable_factors(x[..., None, None], ONE, ONE, 1),
    "separable_factors, a": lambda x: separable_factors(ONE[..., None, None], x, ONE, 1),
    "refit": lambda x: refit(x[0], EYE.double(), torch.arange(2)),
    "refit, a": lambda x: refit(EYE.double(), x[0], torch.arange(2)),
    "Reader": lambda x: Reader(x[0], EYE.double(), (torch.arange(4),)),
    "Reader, lifted": lambda x: Reader(EYE.double(), x[0], (torch.arange(4),)),
    "energy_rank": lambda x: energy_rank(x[0].diagonal()),
    "effective_rank": lambda x: effective_rank(x[0].diagonal()),
    "stable_rank": lambda x: stable_rank(x[0].diagonal()),
    "numerical_rank": lambda x: numerical_rank(x[0].diagonal(), (4, 4)),
    "gavish_donoho_rank": lambda x: gavish_donoho_rank(x[0].diagonal(), (4, 4)),
    "variational_rank": lambda x: variational_rank(x[0].diagonal(), (4, 4)),
}
each_stack = pytest.mark.parametrize("take", STACKS.values(), ids=STACKS.keys())


@each_stack
@pytest.mark.parametrize("name", [name for name in BAD if name != "cube"])
def test_bad_stacks_are_refused(take, name: str):
    matrix, error, message = BAD[name]
    matrix = matrix.double() if matrix.dtype == torch.float32 else matrix
    if name in ("empty", "complex", "integers", "booleans"):  # the types refuse some before we can
        with pytest.raises((error, TypeCheckError)):
            take(matrix[None])
        return
    with pytest.raises(error, match=message):
        take(matrix[None])


@each_stack
def test_odd_but_good_stacks_are_taken(take):
    inside = torch.zeros(1, 8, 8, dtype=torch.float64)
    inside[:, ::2, ::2] = GOOD.double()
    for odd in (inside[:, ::2, ::2], inside[:, ::2, ::2].clone().requires_grad_()):
        for part in tensors(take(odd)):
            assert not part.requires_grad, "results are detached"
    take((ONE / 4).expand(1, 4, 4))


@each_taker
@pytest.mark.filterwarnings("ignore:stopped after")
def test_odd_but_good_tensors_are_taken(take):
    plain = take(GOOD)
    inside = torch.zeros(8, 8)
    inside[::2, ::2] = GOOD
    for odd in (GOOD.mT, inside[::2, ::2], GOOD.clone().requires_grad_()):
        result = take(odd)
        assert type(result) is type(plain)
        for part in tensors(result):
            assert not part.requires_grad, "results are detached"
    take(torch.ones(1, 1).expand(4, 4))
    take(GOOD.bfloat16())


def tensors(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, int | float):
        return []
    parts = result if isinstance(result, tuple) else vars(result).values()
    return [part for part in parts if isinstance(part, Tensor)]


@each_taker
def test_the_argument_is_left_as_it_was(take):
    matrix = GOOD.clone()
    with suppress(UserWarning):
        take(matrix)
    assert torch.equal(matrix, GOOD)


@pytest.mark.parametrize("rank", [-1, 0, 5])
def test_impossible_ranks_say_what_is_possible(rank: int):
    for call in (randomized_svd, range_finder, lambda x, r: subspace_iteration(x, r, 1)):
        with pytest.raises(InputError, match=rf"={rank}: a 4×6 matrix has ranks 1 to 4"):
            call(torch.ones(4, 6), rank)
    with pytest.raises(InputError, match="ranks 1 to 4"):
        weighted_components(EYE, EYE, EYE, rank)
    if rank != 0:
        with pytest.raises(InputError, match="max_size"):
            adaptive_range(torch.ones(4, 6), 0.1, max_size=rank)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: randomized_svd(EYE, 2, oversampling=-1), "oversampling=-1"),
        (lambda: randomized_svd(EYE, 2, power_iterations=-1), "power_iterations=-1"),
        (lambda: subspace_iteration(EYE, 2, -1), "iterations=-1"),
        (lambda: adaptive_range(EYE, 0.0), "tolerance=0.0"),
        (lambda: adaptive_range(EYE, 0.1, block=0), "block=0"),
        (lambda: range_error_bound(EYE, torch.ones(3, 1)), "3 rows"),
        (lambda: weighted_components(EYE, torch.eye(3), EYE, 1), r"expected \(4, 4\)"),
        (lambda: weighted_gradients(EYE, EYE, EYE, COLUMN, COLUMN), "does not multiply"),
        (lambda: frobenius_gradients(EYE, COLUMN, EYE, COLUMN.mT), "does not multiply"),
        (lambda: alternating_least_squares(EYE, EYE, EYE, COLUMN, COLUMN.mT, steps=-1), "steps=-1"),
        (lambda: rayleigh_quotient(EYE, torch.zeros(4)), "vector is zero"),
        (lambda: rayleigh_quotient(EYE, torch.ones(3)), "vector has shape"),
        (lambda: energy_rank(torch.ones(3).long()), "int64"),
        (lambda: damped(ONE, -0.1), "damping=-0.1"),
        (lambda: damped(ONE, float("nan")), "damping=nan"),
        (lambda: separable_factors(ONE[..., None, None], ONE, ONE, 0), "max_rank=0"),
        (lambda: backward_elimination([]), "no readers"),
        (lambda: nested_removal_losses([], [0]), "no readers"),
    ],
)
def test_arguments_that_do_not_fit(call, message: str):
    with pytest.raises(InputError, match=message):
        call()
