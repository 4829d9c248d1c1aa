"""A game: one player hides a rank in a function, the other asks for values and names the rank."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from eckart.linalg import BlackBoxRank, black_box_rank
from study_kit.study import Row

DIMENSION, WIDEST, LARGEST = 100, 95, 100.0
ENOUGH = 0.95  # a game is won with more right answers than this
Answer = Callable[["Game"], BlackBoxRank]


class Game:
    """``f(x) = ‖sin(W₂ cos(W₁ x))‖²``, in float32; torch draws the weights.

    Each round hides a rank r, uniform in 1..95, and weights uniform in [0, 100), of shapes (r, 100)
    and (100, r).

    Attributes:
        gradient: how the second player differentiates, as `black_box_rank` takes it.
    """

    gradient: Any = "automatic"

    def __init__(self, seed: int) -> None:
        self.ranks, self.seed = random.Random(seed), seed
        self.generator = torch.Generator().manual_seed(seed)

    def hide(self) -> None:
        """Begin a round."""
        self.rank = self.ranks.randint(1, WIDEST)
        shapes = (self.rank, DIMENSION), (DIMENSION, self.rank)
        self.inner, self.outer = (self.uniform(shape) for shape in shapes)

    def uniform(self, shape: tuple[int, int]) -> Any:
        return LARGEST * torch.rand(shape, generator=self.generator)

    def value(self, x: Tensor) -> Any:
        """What the second player is told about a vector."""
        return (self.outer @ (self.inner @ x).cos()).sin().square().sum()

    def play(self, rounds: int, answer: Answer) -> Iterator[Row]:
        """The hidden rank, the answer and the evidence for it, round by round."""
        for _ in range(rounds):
            self.hide()
            found = answer(self)
            yield {
                "rank": self.rank, "answer": found.rank, "sure": found.sure,
                "gap": min(found.gap, 1e12), "calls": found.calls,
            }  # fmt: skip


class WithJax(Game):
    """The game in JAX, with the random numbers of `jax.random`."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        import jax
        import jax.numpy as jnp

        def value(inner: Any, outer: Any, x: Any) -> Any:
            return jnp.square(jnp.sin(outer @ jnp.cos(inner @ x))).sum()

        self.random, self.key = jax.random, jax.random.PRNGKey(seed)
        self.told, self.slope = value, jax.jit(jax.grad(value, argnums=2))

    def uniform(self, shape: tuple[int, int]) -> Any:
        self.key, drawn = self.random.split(self.key)
        return self.random.uniform(drawn, shape, maxval=LARGEST)

    def value(self, x: Any) -> Any:
        return self.told(self.inner, self.outer, x)

    def gradient(self, x: Tensor) -> Any:
        return self.slope(self.inner, self.outer, x.numpy())


def eckarts_answer(game: Game) -> BlackBoxRank:
    """The rank of the gradients, from values or gradients alone."""
    generator = torch.Generator().manual_seed(game.seed)
    return black_box_rank(game.value, DIMENSION, gradient=game.gradient, generator=generator)


def always_one(game: Game) -> BlackBoxRank:
    """The placeholder that the notebook leaves to its readers."""
    return BlackBoxRank(1, 1.0, False, 0.0, 0, 0, torch.zeros(0, dtype=torch.float64))
