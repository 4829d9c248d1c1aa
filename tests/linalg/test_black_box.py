"""The black-box game, and functions of other kinds."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.factorisation_kit.black_box import DIMENSION, game
from eckart.errors import InputError, NonFiniteError
from eckart.linalg import black_box_rank
from random_moments import normal, seeded


@pytest.mark.parametrize("seed", range(8))
def test_the_game_with_automatic_differentiation(seed: int):
    rank, function = game(seed, torch.float32)
    found = black_box_rank(function, DIMENSION, generator=seeded(seed))
    assert (found.rank, found.sure) == (rank, True)
    assert found.gradients <= rank + 16
    assert found.calls == found.gradients + 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_game_with_finite_differences(dtype: torch.dtype):
    rank, function = game(143, dtype)
    found = black_box_rank(
        function, DIMENSION, gradient="differences", dtype=dtype, generator=seeded(0)
    )
    assert found.rank == rank
    assert found.calls <= 4 * DIMENSION * found.gradients + 10_000


def test_every_rank_from_one_to_all():
    for rank in (1, 2, 11, 12):
        W = normal(rank, 12, seed=rank)
        found = black_box_rank(
            lambda x, W=W: torch.tanh(W @ x).sum(), 12, dtype=torch.float64, generator=seeded(0)
        )
        assert (found.rank, found.sure) == (rank, True)


def test_a_constant_has_rank_zero():
    found = black_box_rank(lambda x: 3.0, 5)
    assert (found.rank, found.gap) == (0, math.inf)


def test_a_plain_function_with_its_gradient():
    W = normal(3, 10, seed=0).numpy()
    found = black_box_rank(
        lambda x: 0.0,
        10,
        gradient=lambda x: W.T @ np.cos(W @ x.numpy()),
        dtype=torch.float64,
        generator=seeded(1),
    )
    assert (found.rank, found.calls) == (3, found.gradients)


def test_a_function_of_numpy_is_differenced():
    W = normal(4, 10, seed=0).numpy()

    def function(x: Tensor) -> float:
        return float(np.sin(W @ x.numpy()).sum())

    found = black_box_rank(function, 10, dtype=torch.float64, generator=seeded(1))
    assert (found.rank, found.sure) == (4, True)
    assert found.calls > 40 * found.gradients


@pytest.mark.parametrize("gradient", ["automatic", "differences"])
def test_one_dimension_and_as_many_directions_as_there_are(gradient: str):
    for dimension in (1, 6):
        found = black_box_rank(
            lambda x: x.pow(3).sum(), dimension, gradient=gradient, generator=seeded(0)
        )
        assert (found.rank, found.sure) == (dimension, True)


def test_what_has_a_graph_without_the_point_is_a_constant():
    weight = torch.ones(3, requires_grad=True)
    assert black_box_rank(lambda x: weight.sum(), 4).rank == 0
    assert black_box_rank(lambda x: (0 * x).sum(), 4).rank == 0


def test_a_point_made_a_plain_number_is_differenced():
    found = black_box_rank(lambda x: float(x[:2].sin().sum()), 5, dtype=torch.float64)
    assert (found.rank, found.sure) == (2, True)


def test_stairs_and_noise_are_not_sure():
    assert not black_box_rank(
        lambda x: float(x.round().sum()), 6, gradient="differences", generator=seeded(0)
    ).sure
    noise = seeded(0)
    assert not black_box_rank(
        lambda x: float(torch.rand((), generator=noise)), 6, generator=seeded(0)
    ).sure


def test_gradients_can_be_lists_and_arrays_that_cannot_be_written():
    def fixed(x: Tensor) -> np.ndarray:
        slope = np.array([2 * float(x[0]), 0.0, 1.0])
        slope.setflags(write=False)
        return slope

    for gradient in (fixed, lambda x: fixed(x).tolist()):
        assert black_box_rank(max, 3, gradient=gradient, generator=seeded(0)).rank == 2


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: black_box_rank(torch.sum, 0), InputError),
        (lambda: black_box_rank(lambda x: 2 * x, 3), InputError),
        (lambda: black_box_rank(lambda x: x.detach(), 3), InputError),
        (lambda: black_box_rank(lambda x: x.sum() * 1j, 3), InputError),
        (lambda: black_box_rank(lambda x: None, 3), InputError),
        (lambda: black_box_rank(lambda x: "high", 3), InputError),
        (lambda: black_box_rank(lambda x: math.nan, 3), NonFiniteError),
        (lambda: black_box_rank(lambda x: x.sum() * math.inf, 3), NonFiniteError),
        (lambda: black_box_rank(torch.sum, 3, gradient=lambda x: None), InputError),
        (lambda: black_box_rank(torch.sum, 3, gradient=lambda x: x[None]), InputError),
        (lambda: black_box_rank(torch.sum, 3, scale=0.0), InputError),
        (lambda: black_box_rank(torch.sum, 3, dtype=torch.float16), InputError),
        (lambda: black_box_rank(torch.sum, 3, gradient="symbolic"), InputError),
        (lambda: black_box_rank(torch.sum, 3, gradient=lambda x: x[:2]), InputError),
        (lambda: black_box_rank(torch.sum, 3, gradient=lambda x: x.long()), InputError),
        (lambda: black_box_rank(torch.sum, 3, gradient=lambda x: x / 0), NonFiniteError),
    ],
)
def test_bad_input(call, error: type[Exception]):
    with pytest.raises(error):
        call()
