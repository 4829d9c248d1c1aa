"""The black-box game, and functions of other kinds."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.black_box import DIMENSION, game
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


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: black_box_rank(torch.sum, 0), InputError),
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
