"""The smallest candidate that passes: in order, out of order, and none at all."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eckart.errors import InputError, NotMonotoneWarning
from eckart.records import Score, ToleranceSearch
from eckart.search.bisection import smallest_passing


def search(
    scores: Sequence[float | Score], tolerance: float, dense: Score | None = None
) -> tuple[int | None, ToleranceSearch, list[int]]:
    """Over candidates of 10, 20, 30 … parameters, with the indices in the order of trying."""
    seen: list[int] = []

    def score(index: int) -> Score:
        seen.append(index)
        return Score.of(scores[index])

    params = [10 * (i + 1) for i in range(len(scores))]
    index, found = smallest_passing(
        params, score, dense or Score(1.0), 10 * len(scores) + 10, tolerance
    )
    return index, found, seen


def passing(scores: Sequence[float], tolerance: float) -> list[int]:
    return [i for i, score in enumerate(scores) if 1.0 - score < tolerance or score >= 1.0]


@given(
    st.lists(st.integers(0, 100), max_size=70).map(sorted),
    st.sampled_from([0.0, 0.05, 0.3, 2.0]),
)
def test_in_order_it_is_the_smallest_in_logarithmic_time(percents: list[int], tolerance: float):
    scores = [percent / 100 for percent in percents]
    index, found, seen = search(scores, tolerance)
    assert index == next(iter(passing(scores, tolerance)), None)
    assert found.monotone
    assert len(seen) == len(set(seen)) == found.evaluations
    assert found.evaluations <= math.ceil(math.log2(len(scores) + 1)) + 2


@given(st.lists(st.integers(0, 100), max_size=70), st.sampled_from([0.0, 0.1, 0.5]))
def test_out_of_order_what_is_promised_holds(percents: list[int], tolerance: float):
    scores = [percent / 100 for percent in percents]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotMonotoneWarning)
        index, found, seen = search(scores, tolerance)
    good = set(passing(scores, tolerance))
    assert index == min(good & set(seen), default=None)
    if index:
        assert index - 1 in seen, "the next smaller one was tried"
    if not found.monotone and len(scores) <= 16:
        assert index == min(good, default=None)
    assert len(seen) == len(set(seen)) <= 2 * math.ceil(math.log2(len(scores) + 1)) + 18


def test_a_smaller_one_that_bisection_passes_over_is_found_and_told():
    scores = [0.2, 0.95, 0.5, 0.6, 0.7, 0.92, 0.99, 1.0]  # bisection ends at 5
    with pytest.warns(NotMonotoneWarning, match=r"not monotone.* more candidates were evaluated"):
        index, found, _ = search(scores, 0.1)
    assert index == 1
    assert not found.monotone
    assert found.gap == pytest.approx(0.05)
    assert (found.saved_params, found.saved_fraction) == (70, pytest.approx(70 / 90))


def test_a_long_row_out_of_order_is_scanned_in_bounded_time():
    scores = [i / 1000 for i in range(1000)]
    scores[100:160] = [0.96] * 60
    scores[499] = 0.8  # fails, but does better than 749, which bisection tries next
    with pytest.warns(NotMonotoneWarning, match="0.8 at 5000 parameters, 0.749 at 7500 parameters"):
        index, found, seen = search(scores, 0.1)
    assert index == 100, "met by the scan, then bisected"
    assert 99 in seen
    assert found.evaluations <= 2 * 10 + 18


def test_noise_within_two_standard_errors_is_in_order():
    generator = torch.Generator().manual_seed(0)
    dense = torch.ones(400)

    def noisy(wrong: int) -> Score:
        hits = dense.clone()
        hits[torch.randperm(400, generator=generator)[:wrong]] = 0
        return Score(float(hits.mean()), 400, samples=hits)

    scores = [noisy(w) for w in (300, 200, 100, 40, 8, 12, 8, 12)]
    reference = Score(1.0, 400, samples=dense)
    index, found, _ = search(scores, 0.05, reference)
    assert (index, found.monotone) == (4, True)
    bare = [score.value for score in scores]
    with pytest.warns(NotMonotoneWarning):
        assert search(bare, 0.05)[0] == 4


@pytest.mark.parametrize(
    ("tolerance", "expected"), [(0.0, 3), (0.25, 3), (0.2500001, 2), (math.inf, 0)]
)
def test_the_gap_is_below_the_tolerance_or_not_there(tolerance: float, expected: int):
    assert search([0.25, 0.5, 0.75, 1.0, 1.0], tolerance)[0] == expected


def test_lower_can_be_better():
    losses = [Score(v, higher_is_better=False) for v in (9.0, 3.0, 2.1, 2.0)]
    index, found, _ = search(losses, 0.5, Score(2.0, higher_is_better=False))
    assert index == 2
    assert found.gap == pytest.approx(0.1)
    assert min(trial.gap for trial in found.trials) >= 0


@pytest.mark.parametrize("scores", [[], [0.0], [0.0] * 9])
def test_where_none_passes_nothing_is_found(scores: list[float]):
    index, found, _ = search(scores, 0.1)
    assert index is None
    assert found.found is None
    assert (found.gap, found.saved_params, found.saved_fraction) == (0.0, 0, 0.0)
    assert "nothing smaller is within 0.1" in str(found)


@pytest.mark.parametrize("tolerance", [-0.1, math.nan])
def test_impossible_tolerances(tolerance: float):
    with pytest.raises(InputError, match="tolerance="):
        search([1.0], tolerance)


def test_the_record_is_printed_and_written():
    _, found, _ = search([0.0, 0.97, 1.0], 0.1)
    assert str(found) == ("gap 0.03 within 0.1; 20 of 40 parameters saved (50.0%, 2 evaluations)")
    written: dict[str, Any] = found.as_json()
    assert written["found"]["params"] == 20
    assert [trial["params"] for trial in written["trials"]] == [20, 10]
    assert written["evaluations"] == 2
