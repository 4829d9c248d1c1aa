"""Which columns to keep: refits against least squares, orders against brute force."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from eckart.linalg import (
    Reader,
    backward_elimination,
    backward_removals,
    damped,
    factor,
    nested_removal_losses,
    quadratic_loss,
    refit,
)
from eckart.linalg.elimination import backward, coarse
from random_moments import normal, second_moment, seeded
from tolerances import tolerance

CLOSE = tolerance(torch.float64)
UNITS = 6
LAYOUTS = {  # columns of every unit, and how many columns there are
    "columns": ([[j] for j in range(UNITS)], UNITS),
    "blocks": ([[3 * j, 3 * j + 1, 3 * j + 2] for j in range(UNITS)], 3 * UNITS),
    "scattered": ([[j, UNITS + j] for j in reversed(range(UNITS))], 2 * UNITS),
    "columns of no unit": ([[j + 2] for j in range(UNITS)], UNITS + 3),
    "unequal": ([[0], [1, 2], [3, 4, 5], [6], [7, 8], [9]], 10),
    "units that are not read": ([[0], [], [1, 2], [], [3], [4]], 5),
}


@dataclass(frozen=True)
class Layer:
    """A matrix that reads the units, with its moments."""

    weight: Tensor
    a: Tensor
    g: Tensor
    columns: Sequence[Sequence[int]]

    @property
    def reader(self) -> Reader:
        lifted = factor(self.g).mT @ self.weight
        return Reader(self.a, lifted, tuple(torch.tensor(unit).long() for unit in self.columns))

    @property
    def scale(self) -> float:
        return quadratic_loss(self.weight, self.a, self.g)

    def loss(self, kept: Sequence[int]) -> float:
        """Of the matrix refitted by least squares to the columns of these units and of none."""
        gone = {c for unit in set(range(len(self.columns))) - set(kept) for c in self.columns[unit]}
        at = [c for c in range(len(self.a)) if c not in gone]
        root = factor(self.a)
        fitted = torch.zeros_like(self.weight)
        fitted[:, at] = torch.linalg.lstsq(root[at].mT, (self.weight @ root).mT).solution.mT
        return quadratic_loss(self.weight - fitted, self.a, self.g)


def layer(layout: str, *, seed: int = 0, out: int = 4, rank: int | None = None) -> Layer:
    columns, width = LAYOUTS[layout]
    a = second_moment(1, width, seed=seed, rank=rank)[0]
    g = second_moment(1, out, seed=seed + 1)[0]
    return Layer(normal(out, width, seed=seed + 2), a, g, columns)


def order_of(seed: int, units: int = UNITS) -> list[int]:
    return torch.randperm(units, generator=seeded(seed)).tolist()


each_layout = pytest.mark.parametrize("layout", LAYOUTS)
SEEDS = st.integers(0, 10**6)


@settings(max_examples=30)
@given(seed=SEEDS, kept=st.sets(st.integers(0, 7), min_size=1), rank=st.sampled_from([8, 5]))
def test_a_refit_is_least_squares(seed: int, kept: set[int], rank: int):
    a, weight = second_moment(1, 8, seed=seed, rank=rank)[0], normal(3, 8, seed=seed + 1)
    at, root = torch.tensor(sorted(kept)), factor(a)
    rival = torch.linalg.lstsq(root[at].mT, (weight @ root).mT).solution.mT
    ours, theirs = (weight @ root - m @ root[at] for m in (refit(weight, a, at), rival))
    assert ours.norm() <= theirs.norm() * (1 + 1e-6) + 1e-9 * (weight @ root).norm()


@settings(max_examples=30)
@given(seed=SEEDS, kept=st.sets(st.integers(0, 7), min_size=1), rank=st.integers(1, 8))
def test_a_refit_is_never_worse_than_none(seed: int, kept: set[int], rank: int):
    a, g = second_moment(1, 8, seed=seed, rank=rank)[0], second_moment(1, 3, seed=seed + 1)[0]
    weight, at = normal(3, 8, seed=seed + 2), torch.tensor(sorted(kept))
    plain, fitted = torch.zeros_like(weight), torch.zeros_like(weight)
    plain[:, at], fitted[:, at] = weight[:, at], refit(weight, a, at)
    scale = quadratic_loss(weight, a, g)
    assert quadratic_loss(weight - fitted, a, g) <= (
        quadratic_loss(weight - plain, a, g) + 1e-9 * scale
    )


def test_what_is_kept_whole_is_not_touched():
    weight, order = normal(3, 8, seed=1), torch.tensor(order_of(2, 8))
    assert torch.equal(refit(weight, second_moment(1, 8, seed=0)[0], order), weight[:, order])


def test_white_inputs_need_no_refit():
    weight, at = normal(3, 5, seed=1), torch.tensor([0, 3])
    torch.testing.assert_close(refit(weight, 2 * torch.eye(5).double(), at), weight[:, at], **CLOSE)


def test_a_copy_takes_over_for_what_goes():
    rows = normal(4, 50, seed=0)
    a = damped(torch.cat([rows, rows[:1]]) @ torch.cat([rows, rows[:1]]).mT, 1e-12)
    weight = normal(3, 5, seed=1)
    expected = weight[:, :4].clone()
    expected[:, 0] += weight[:, 4]
    torch.testing.assert_close(refit(weight, a, torch.arange(4)), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("damping", [0.0, 1e-6])
def test_inputs_that_are_all_zero_give_finite_weights(damping: float):
    a = damped(torch.zeros(5, 5), damping) if damping else torch.zeros(5, 5).double()
    fitted = refit(normal(3, 5, seed=1), a, torch.tensor([0, 3]))
    assert torch.isfinite(fitted).all()


@each_layout
@settings(max_examples=15)
@given(seed=SEEDS, rank=st.sampled_from([None, 3]))
def test_losses_are_those_of_the_refits(layout: str, seed: int, rank: int | None):
    layers = [layer(layout, seed=seed, rank=rank), layer("columns", seed=seed + 9, out=2)]
    order = order_of(seed)
    losses = nested_removal_losses([each.reader for each in layers], order)
    expected = [sum(each.loss(order[:k]) for each in layers) for k in range(UNITS + 1)]
    scale = sum(each.scale for each in layers)
    torch.testing.assert_close(
        losses, torch.tensor(expected).double(), rtol=1e-6, atol=1e-8 * scale
    )


@each_layout
@settings(max_examples=15)
@given(seed=SEEDS, rank=st.sampled_from([None, 1, 3]))
def test_losses_never_rise_and_end_at_none(layout: str, seed: int, rank: int | None):
    losses = nested_removal_losses([layer(layout, seed=seed, rank=rank).reader], order_of(seed))
    assert all(b <= a for a, b in pairwise(losses.tolist()))
    assert losses[-1] == 0


@each_layout
@settings(max_examples=15)
@given(seed=SEEDS)
def test_every_unit_goes_when_its_loss_is_the_least(layout: str, seed: int):
    layers = [layer(layout, seed=seed), layer("columns", seed=seed + 9, out=2)]
    order = backward_elimination([each.reader for each in layers])
    assert sorted(order) == list(range(UNITS))
    scale = sum(each.scale for each in layers)
    for k in range(UNITS, 0, -1):
        left = order[:k]
        losses = {
            unit: sum(each.loss([u for u in left if u != unit]) for each in layers) for unit in left
        }
        assert losses[order[k - 1]] <= min(losses.values()) + 1e-7 * scale


def test_readers_count_together():
    """What one layer could spare the other needs."""
    white = torch.eye(2).double()
    columns = (torch.tensor([0]), torch.tensor([1]))
    one, other = (
        Reader(white, torch.diag(p).sqrt().double(), columns)
        for p in torch.tensor([[3.0, 2], [0, 2]])
    )
    assert backward_elimination([one]) == [0, 1]
    assert backward_elimination([one, other]) == [1, 0]


def test_a_copy_goes_first_and_free_of_loss():
    rows = normal(5, 50, seed=0)
    rows[3] = rows[1]
    a = damped(rows @ rows.mT, 1e-9)
    weight = normal(3, 5, seed=1)
    reader = Reader(a, weight, tuple(torch.tensor([j]) for j in range(5)))
    order = backward_elimination([reader])
    assert order[-1] in (1, 3)
    losses = nested_removal_losses([reader], order)
    assert losses[4] <= 1e-6 * losses[0]
    assert losses[3] > 1e-3 * losses[0]


@each_layout
@pytest.mark.parametrize("zero", ["a", "g", "weight"])
def test_nothing_to_lose_still_gives_an_order(layout: str, zero: str):
    parts = vars(layer(layout)).copy()
    parts[zero] = (
        damped(torch.zeros_like(parts[zero]), 1e-6) if zero != "weight" else 0 * parts[zero]
    )
    reader = Layer(**parts).reader
    order = backward_elimination([reader])
    assert sorted(order) == list(range(UNITS))
    assert nested_removal_losses([reader], order).max() <= 1e-20


@each_layout
@pytest.mark.parametrize("rank", [1, 3])
def test_dependent_columns_are_no_obstacle(layout: str, rank: int):
    """Where the rest can make up for a unit, it goes at no loss."""
    each = layer(layout, rank=rank)
    order = backward_elimination([each.reader])
    losses = nested_removal_losses([each.reader], order)
    assert sorted(order) == list(range(UNITS))
    assert losses[rank] <= 1e-4 * each.scale


@settings(max_examples=10)
@given(seed=SEEDS, copies=st.integers(0, 20))
def test_many_units_go_as_if_one_at_a_time(seed: int, copies: int):
    """Up to 6 of 96 units go between two looks at all; two copies of one unit are no trap."""
    rows = normal(96, 300, seed=seed)
    rows[:copies] = rows[32 : 32 + copies]
    a = damped(rows @ rows.mT, 1e-9)
    reader = Reader(a, normal(8, 96, seed=seed + 1), tuple(torch.arange(96)[:, None]))
    losses = nested_removal_losses([reader], backward_elimination([reader]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backward, "_SHARE", 1000)
        slow = nested_removal_losses([reader], backward_elimination([reader]))
    torch.testing.assert_close(losses, slow, rtol=0.05, atol=1e-6 * float(slow[0]))


@each_layout
@settings(max_examples=15)
@given(seed=SEEDS, damping=st.sampled_from([1e-6, 1e-2]))
def test_the_losses_on_the_way_are_those_of_the_order(layout: str, seed: int, damping: float):
    layers = [layer(layout, seed=seed, rank=4), layer("columns", seed=seed + 9, out=2)]
    readers = [replace(each.reader, a=damped(each.a, damping)) for each in layers]
    found = backward_removals(readers)
    expected = nested_removal_losses(readers, found.order)
    torch.testing.assert_close(found.losses, expected, rtol=1e-6, atol=1e-9 * float(expected[0]))


def test_many_units_of_unequal_width_go_at_once(monkeypatch: pytest.MonkeyPatch):
    """Those that go first are all narrow; the wide ones are in none of the pools."""
    monkeypatch.setattr(backward, "_FEW", 1)
    rows = normal(40 + 9 * 40, 500, seed=0)
    a = damped(rows @ rows.mT, 1e-9)
    weight = normal(8, len(rows), seed=1)
    weight[:, :40] *= 1e-3
    wide = [torch.arange(40 + 9 * j, 49 + 9 * j) for j in range(40)]
    reader = Reader(a, weight, (*torch.arange(40)[:, None], *wide))
    found = backward_removals([reader])
    assert set(found.order[40:]) == set(range(40))
    torch.testing.assert_close(found.losses, nested_removal_losses([reader], found.order))


def wide_reader(seed: int, units: int = 24, taps: int = 9) -> Reader:
    """A kernel of nine taps over correlated channels, each column next to those of its unit."""
    mixed = normal(units, units, seed=seed) @ normal(units, 400, seed=seed + 1)
    rows = mixed[:, None, :] * normal(1, taps, 1, seed=seed + 2) + normal(
        units, taps, 400, seed=seed + 3
    )
    a = damped(rows.flatten(0, 1) @ rows.flatten(0, 1).mT / 400, 1e-6)
    columns = torch.arange(units * taps).view(units, taps)
    return Reader(a, normal(8, units * taps, seed=seed + 4), tuple(columns))


@pytest.mark.parametrize("seed", range(3))
def test_half_of_a_wide_layer_may_go_in_a_coarse_order(seed: int, monkeypatch: pytest.MonkeyPatch):
    """Every loss is exact, the order is nearly as good, and its second half is greedy."""
    readers = [wide_reader(seed), wide_reader(seed + 10)]
    exact = backward_removals(readers)
    monkeypatch.setattr(coarse, "_WIDE", 120)
    found = backward_removals(readers)
    expected = nested_removal_losses(readers, found.order)
    torch.testing.assert_close(found.losses, expected, rtol=1e-6, atol=1e-9 * float(expected[0]))
    assert sorted(found.order) == list(range(24))
    assert (found.losses[1:24] / exact.losses[1:24]).log().mean() < 0.1
    kept = found.order[:12]
    assert kept == [kept[at] for at in _greedy(readers, kept)]


def _greedy(readers: Sequence[Reader], kept: Sequence[int]) -> list[int]:
    """The places of some units in the order of a search that sees these units alone."""
    seen = []
    for reader in readers:
        at = torch.cat([reader.columns[unit] for unit in kept])
        fitted = refit(reader.lifted, reader.a, at)
        columns = torch.arange(len(at)).view(len(kept), -1)
        seen.append(Reader(reader.a[at][:, at], fitted, tuple(columns)))
    return backward_elimination(seen)


def test_a_coarse_order_is_that_of_a_product():
    """If the second moment is a product, both orders are the same."""
    over_units, taps = second_moment(1, 10, seed=0)[0], second_moment(1, 4, seed=1)[0]
    a = torch.kron(over_units, taps)
    weight, columns = normal(3, 40, seed=2), tuple(torch.arange(40).view(10, 4))
    reader = Reader(a, weight, columns)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coarse, "_WIDE", 1)
        (small,) = coarse.coarse_readers([reader]) or ()
    assert small.a.shape == (10, 10)
    assert backward_elimination([small]) == backward_elimination([reader])
    losses = [nested_removal_losses([each], list(range(10))) for each in (small, reader)]
    torch.testing.assert_close(*losses)
