"""Losses of narrower layers are known before factors, and are those that the factors have."""

import pytest
import torch

from eckart.methods import METHODS, Foreseeing, Heirs, Problem, narrowed_problem
from eckart.records import Piece
from random_moments import normal, second_moment
from tolerances import tolerance

CLOSE = tolerance(torch.float64)
OUT, CHANNELS = 12, 10
PIECES = {
    "more inputs": Piece(CHANNELS, OUT, (3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1)),
    "more outputs": Piece(CHANNELS, 5 * OUT),
}
METHODS_BY_RANK = ["weighted_svd", "pivoted_svd", "activation_svd", "svd", "spatial"]


def whole(piece: Piece) -> Problem:
    _, out, inputs = piece.moment_shape
    a, g = second_moment(1, inputs, seed=1), second_moment(1, out, seed=2)
    return Problem(piece, normal(1, out, inputs, seed=3), a, g)


def fewer_inputs(problem: Problem) -> Problem:
    return narrowed_problem(problem, None, [0, 2, 3, 7])


def fewer_outputs(problem: Problem, *, alike: Problem | None = None) -> Problem:
    return narrowed_problem(problem, heirs_of(problem), None, alike=alike)


def fewer_of_both(problem: Problem) -> Problem:
    """As ``curves`` makes them: G is that of the layer with all inputs."""
    return fewer_outputs(fewer_inputs(problem), alike=fewer_outputs(problem))


def fewer_at_once(problem: Problem) -> Problem:
    """As ``apply`` makes them."""
    return narrowed_problem(problem, heirs_of(problem), [0, 2, 3, 7])


def heirs_of(problem: Problem) -> Heirs:
    out = problem.piece.outputs
    rows = list(range(0, out, 2))
    share = normal(out, len(rows), seed=4)
    return Heirs(rows, lambda: share)


WIDTHS = [lambda whole: whole, fewer_inputs, fewer_outputs, fewer_of_both, fewer_at_once]


@pytest.fixture(params=PIECES, ids=str)
def problem(request: pytest.FixtureRequest) -> Problem:
    return whole(PIECES[request.param])


@pytest.mark.parametrize("width", WIDTHS)
def test_products_are_those_of_the_matrices(problem: Problem, width):
    narrow = width(problem)
    weight, a = narrow.weight, narrow.a
    torch.testing.assert_close(narrow.seen, weight @ a, **CLOSE)
    torch.testing.assert_close(narrow.output_moment, weight @ a @ weight.mT, **CLOSE)
    white = narrow.innovations
    torch.testing.assert_close(white @ white.mT, weight @ a @ weight.mT, **CLOSE)
    torch.testing.assert_close(narrow.lift @ narrow.lift.mT, narrow.g, **CLOSE)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", METHODS_BY_RANK)
def test_losses_are_those_of_the_factors(problem: Problem, name: str, width):
    narrow, method = width(problem), METHODS[name]
    if not method.applies(narrow.piece):
        return
    assert isinstance(method, Foreseeing)
    found = {
        ranks.form(rank): loss
        for ranks in method.foreseen(narrow)
        for rank, loss in enumerate(ranks.losses, start=1)
    }
    expected = dict(method.losses(method.prepare(narrow)))
    assert found.keys() == expected.keys()
    scale = max(expected.values())
    for form, loss in expected.items():
        assert found[form] == pytest.approx(loss, rel=1e-9, abs=1e-12 * scale)


def test_a_moment_that_is_not_definite_has_products_too():
    problem = whole(PIECES["more inputs"])
    flat = problem.a.clone()
    flat[:, :9], flat[:, :, :9] = 0, 0  # the first channel is always zero
    narrow = narrowed_problem(Problem(problem.piece, problem.weight, flat, problem.g), None, [0, 1])
    weight = narrow.weight
    white = narrow.innovations
    torch.testing.assert_close(white @ white.mT, weight @ narrow.a @ weight.mT, **CLOSE)


def test_a_step_is_as_many_ranks_as_it_has_parameters():
    problem = whole(PIECES["more inputs"])
    (ranks,) = METHODS["weighted_svd"].foreseen(problem)
    each = CHANNELS * 9 + OUT
    sizes = [form.pieces[0].outputs for form, _ in ranks.spaced(3.0 * each, lambda _: True)]
    assert sizes == [1, 4, 7, 10]
    even = ranks.spaced(3.0 * each, lambda form: form.pieces[0].outputs % 2 == 0)
    assert [form.pieces[0].outputs for form, _ in even] == [2, 6, 10]
