"""What codes promise, on every kind of layer."""

import pytest
import torch

from eckart.errors import MismatchError
from eckart.layers import as_matrix, rebuild
from eckart.linalg import damped, quadratic_loss
from eckart.methods import METHODS, Cache, Problem, Rounding, built, can_have_codes, factor_losses
from eckart.records import Form
from eckart.records.offered import ROUNDING
from layer_zoo import EVEN_WARNING, LAYERS, layer, problem_of_layer
from prepared_layers import prepared_for

pytestmark = pytest.mark.filterwarnings(f"ignore:{EVEN_WARNING}")


def offers(problem: Problem) -> list[tuple[Form, float]]:
    rounding = Rounding()
    return rounding.losses(rounding.prepare(problem))


@pytest.mark.parametrize("name", LAYERS)
def test_codes_lose_what_is_said_of_them(name: str):
    """What was expected is held against real layers in tests/linalg: small ones err at random."""
    module, cache = layer(name), Cache(0)
    problem = problem_of_layer(module)
    for form, expected in offers(problem)[::6]:
        form.check_replaces(problem.piece)
        assert Form.from_json(form.as_json()) == form
        assert form.uncoded == Form((problem.piece,))
        found = built(cache, ROUNDING, problem, form, name)
        merged = as_matrix(rebuild(module, form, list(found.weights)).merge()).double()
        true = quadratic_loss(problem.weight - merged, problem.a, problem.g)
        assert found.share * expected == pytest.approx(true, rel=1e-3)


@pytest.mark.parametrize("name", ["wide", "grouped", "strided", "3d", "1xk", "turned"])
@pytest.mark.parametrize("method", ["weighted_svd", "pivoted_svd", "spatial", "tucker2", "cp"])
def test_factors_in_codes_lose_what_is_said_of_them(method: str, name: str):
    prepared = prepared_for(method, name)
    able = [] if prepared is None else [f for f, _ in prepared.offers if can_have_codes(f)]
    if prepared is None or not able:
        pytest.skip(f"{method} has no forms of {name} that can have codes")
    problem, module, cache = prepared.problem, prepared.module, Cache(0)
    plain = able[len(able) // 2]
    form = plain.in_codes([4 + at for at, _ in enumerate(plain.pieces)])
    found = built(cache, method, problem, form, name)
    layer_of = rebuild(module, form, list(found.weights))
    assert layer_of.form == form
    assert not form.carries
    merged = as_matrix(layer_of.merge()).double()
    true = quadratic_loss(problem.weight - merged, problem.a, problem.g)
    assert found.loss == pytest.approx(true, rel=1e-3, abs=1e-9)
    added = factor_losses(problem, plain, METHODS[method].build(prepared.state, plain), (4, 8))
    assert added.shape == (len(plain.pieces), 2)
    assert (added[:, 1] <= added[:, 0]).all()
    assert found.loss < 4 * found.predicted  # small layers err at random


@pytest.mark.parametrize("zero", ["weight", "a", "g"])
def test_all_zero_problems_give_finite_weights(zero: str):
    module = layer("grouped")
    p = problem_of_layer(module)
    parts = {"weight": p.weight, "a": p.a, "g": p.g}
    nothing = torch.zeros_like(parts[zero])
    parts[zero] = nothing if zero == "weight" else damped(nothing, 1e-6)
    problem = Problem(p.piece, **parts)
    for form, loss in offers(problem):
        assert 0 <= loss < float("inf")
        (found,) = built(Cache(0), ROUNDING, problem, form, "").weights
        assert torch.isfinite(found.weight).all()


def test_a_form_of_another_layer_is_refused():
    form, _ = offers(problem_of_layer(layer("grouped")))[0]
    with pytest.raises(MismatchError, match="layer 'x': rounding cannot make the form"):
        built(Cache(0), ROUNDING, problem_of_layer(layer("3x3")), form, "x")


def test_forms_with_codes_in_a_part_only_are_refused():
    problem = problem_of_layer(layer("3x3"))
    method = METHODS["weighted_svd"]
    form, _ = method.losses(method.prepare(problem))[2]
    with pytest.raises(MismatchError, match="layer 'x': weighted_svd cannot make the form"):
        built(Cache(0), "weighted_svd", problem, form.in_codes([4, 0]), "x")
