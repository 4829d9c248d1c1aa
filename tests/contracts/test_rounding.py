"""What codes promise, on every kind of layer."""

import pytest
import torch

from eckart.errors import MismatchError
from eckart.layers import as_matrix, rebuild
from eckart.linalg import damped, quadratic_loss
from eckart.methods import Cache, Problem, Rounding, built
from eckart.records import Form
from eckart.records.offered import ROUNDING
from layer_zoo import EVEN_WARNING, LAYERS, layer, problem_of_layer

pytestmark = pytest.mark.filterwarnings(f"ignore:{EVEN_WARNING}")


def offers(problem: Problem) -> list[tuple[Form, float]]:
    rounding = Rounding()
    return rounding.losses(rounding.prepare(problem))


@pytest.mark.parametrize("name", LAYERS)
def test_codes_lose_what_is_said_of_them(name: str):
    """What was expected is held against real layers in tests/linalg: small ones err at random."""
    module, cache = layer(name), Cache(0)
    problem = problem_of_layer(module)
    for form, expected in offers(problem)[::3]:
        form.check_replaces(problem.piece)
        assert Form.from_json(form.as_json()) == form
        assert form.uncoded == Form((problem.piece,))
        found = built(cache, ROUNDING, problem, form, name)
        merged = as_matrix(rebuild(module, form, list(found.weights)).merge()).double()
        true = quadratic_loss(problem.weight - merged, problem.a, problem.g)
        assert found.share * expected == pytest.approx(true, rel=1e-3)


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
