"""Prices per unit of cost that give the highest lower bound on all choices of a coupled knapsack.

The price of a single cost is found by slopes, those of several by column generation.

Source: Geoffrion 1974 (Lagrangian bounds by column generation).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from eckart.stages.allocate.coupled import Column, Coupled
from eckart.stages.allocate.knapsack import Vector, unit_of
from eckart.stages.allocate.single_price import price_of

_ROUNDS = 60


class Dual(NamedTuple):
    """The proven bound, and the choices met on the way.

    Attributes:
        prices: per unit of each cost.
        bound: no choice within the limits has less loss.
        met: choices that are best at some prices.
    """

    prices: Vector
    bound: float
    met: Sequence[Column]


def dual(problem: Coupled, limits: Vector) -> Dual:
    """The prices that prove the highest lower bound; some choice is beyond the limits."""
    return _single(problem, limits) if len(limits) == 1 else _several(problem, limits)


def _single(problem: Coupled, limits: Vector) -> Dual:
    """By slopes, between the cheapest choice and that of least loss."""
    cheapest = problem.best(np.ones(1), loss=0.0)[0]
    freest = problem.best(np.zeros(1))[0]
    if cheapest.spent > limits[0]:
        return Dual(np.zeros(1), 0.0, [cheapest, freest])
    found, met = price_of(
        cheapest, freest, float(limits[0]), lambda price: problem.best(np.array([price]))
    )
    return Dual(np.array([found.price]), found.bound, [cheapest, freest, *met])


def _several(problem: Coupled, limits: Vector) -> Dual:
    """By column generation, from the cheapest choice by each cost and that of least loss."""
    units = unit_of(limits)
    met = [problem.best(prices, loss=0.0)[0] for prices in np.eye(len(limits))]
    met.append(problem.best(np.zeros(len(limits)))[0])
    scale = max(max(column.loss for column in met), 1e-300)
    best, proved = np.zeros(len(limits)), 0.0
    for _ in range(_ROUNDS):
        prices, value = _master(met, limits / units, units, scale)
        column, least = problem.best(prices)
        bound = least - float(prices @ limits)
        if bound > proved:
            best, proved = prices, bound
        if bound >= value - 1e-6 * abs(value):
            break
        met.append(column)
    return Dual(best, proved, met)


def _master(
    met: Sequence[Column], limits: Vector, units: Vector, scale: float
) -> tuple[Vector, float]:
    """Prices and loss of the best mixture, within the limits, of the choices met so far."""
    from scipy.optimize import linprog  # slow to import, and only needed here

    losses = np.array([column.loss for column in met]) / scale
    costs = np.stack([column.costs / units for column in met], 1)
    slack = 1e3 * (1 + losses.max())  # exceeding a limit must never pay
    result = linprog(
        np.concatenate([losses, np.full(len(limits), slack)]),
        A_ub=np.concatenate([costs, -np.eye(len(limits))], 1),
        b_ub=limits,
        A_eq=np.concatenate([np.ones(len(losses)), np.zeros(len(limits))])[None],
        b_eq=[1.0],
    )
    prices = np.maximum(-result.ineqlin.marginals, 0.0)
    return prices / units * scale, float(result.fun) * scale
