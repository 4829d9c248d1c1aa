"""What every registered method promises, on every kind of layer."""

from itertools import groupby, pairwise

import pytest
import torch

from eckart.costs import COSTS
from eckart.errors import InputError
from eckart.layers import as_matrix, rebuild
from eckart.linalg import damped, quadratic_loss
from eckart.methods import (
    DEFAULT_METHODS,
    METHODS,
    Method,
    Problem,
    Refining,
    fitting_methods,
    methods_named,
    selection_named,
)
from eckart.records import Form
from eckart.records.offered import ROUNDING
from layer_zoo import (
    EVEN_WARNING,
    LAYERS,
    inputs,
    layer,
    piece_of_layer,
    problem_of_layer,
    real_cost,
    spec_of,
)
from prepared_layers import Prepared, prepared_for
from random_moments import losses_of
from tolerances import tolerance
from transformer_networks import llama

pytestmark = pytest.mark.filterwarnings(f"ignore:{EVEN_WARNING}")
CLOSE = tolerance(torch.float64)


def applied(method: str, name: str) -> Prepared:
    """A method's answer for a layer; the test is skipped where it has none."""
    found = prepared_for(method, name)
    if found is None:
        pytest.skip(f"{method} has nothing to offer for {name}")
    return found


@pytest.fixture(scope="module", params=sorted(METHODS))
def method(request: pytest.FixtureRequest) -> Method:
    return METHODS[request.param]


@pytest.fixture(scope="module", params=LAYERS)
def prepared(request: pytest.FixtureRequest, method: Method) -> Prepared:
    return applied(method.name, request.param)


def test_a_method_is_registered_under_its_name(method: Method):
    assert METHODS[method.name] is method
    assert isinstance(method, Method)


def test_every_loss_is_the_quadratic_form_of_what_is_built(method: Method, prepared: Prepared):
    p = prepared.problem
    merged = [as_matrix(built.merge()) for built in prepared.factored]
    assert merged, "a method that applies has something to offer"
    scale = quadratic_loss(p.weight, p.a, p.g)
    losses = torch.tensor([loss for _, loss in prepared.offers], dtype=torch.float64)
    true = losses_of(p.weight, merged, p.a, p.g)
    torch.testing.assert_close(losses / scale, true / scale, **CLOSE)


def test_refined_weights_lose_what_is_said_and_never_more_than_before(
    method: Method, prepared: Prepared
):
    if not isinstance(method, Refining):
        pytest.skip(f"{method.name} does not refine")
    p = prepared.problem
    form, loss = prepared.offers[len(prepared.offers) // 2]
    found, again = (method.refined(prepared.state, form, p) for _ in range(2))
    assert all(map(torch.equal, found.weights, again.weights))
    merged = as_matrix(rebuild(prepared.module, form, list(found.weights)).merge())
    scale = quadratic_loss(p.weight, p.a, p.g)
    (true,) = losses_of(p.weight, [merged], p.a, p.g)
    assert found.loss / scale == pytest.approx(float(true) / scale, abs=CLOSE["atol"])
    assert found.loss <= loss * (1 + 1e-9) + 1e-12 * scale


def test_offers_are_distinct_and_replace_the_layer(prepared: Prepared):
    forms = [form for form, _ in prepared.offers]
    assert len(set(forms)) == len(forms)
    for form, loss in prepared.offers:
        form.check_replaces(prepared.problem.piece)
        assert Form.from_json(form.as_json()) == form
        assert not form.is_plain
        assert loss >= 0


def test_weights_have_their_pieces_shapes(prepared: Prepared):
    for (form, _), weights in zip(prepared.offers, prepared.weights, strict=True):
        assert [tuple(w.shape) for w in weights] == [p.weight_shape for p in form.pieces]
        assert all(torch.isfinite(w).all() for w in weights)


def test_costs_are_those_of_what_is_built(prepared: Prepared):
    example = inputs(prepared.module, n=1)
    spec = spec_of(prepared.module, example)
    for built in prepared.factored:
        for name, cost in COSTS.items():
            value, real = cost.of(spec, built.form), real_cost(name, built, example)
            assert isinstance(value, int) or not cost.counted
            assert value > 0
            assert real is None or value == real, (name, built.form)


def test_what_is_built_has_the_form_and_the_outputs_of_its_merged_layer(prepared: Prepared):
    x = inputs(prepared.module)
    for (form, _), built in zip(prepared.offers, prepared.factored, strict=True):
        assert built.form == form
        merged = built.merge()
        assert type(merged) is type(prepared.module)
        torch.testing.assert_close(built(x), merged(x), **CLOSE)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("nested", ["weighted_svd", "activation_svd", "spatial"])
def test_losses_never_rise_with_the_rank(nested: str, name: str):
    offers = applied(nested, name).offers
    most = max(loss for _, loss in offers)
    for _, family in groupby(offers, key=lambda offer: offer[0].pieces[0].kernel):
        losses = [loss for _, loss in family]
        assert all(b <= a + 1e-12 * most for a, b in pairwise(losses))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("full", ["svd", "activation_svd", "weighted_svd"])
def test_full_rank_reproduces_the_layer(full: str, name: str):
    prepared = applied(full, name)
    x, built = inputs(prepared.module), prepared.factored[-1]
    torch.testing.assert_close(built(x), prepared.module(x), rtol=1e-7, atol=1e-7)


def test_weighted_svd_is_the_best_of_its_form():
    for name in LAYERS:
        best, *others = (
            torch.tensor([loss for _, loss in applied(m, name).offers])
            for m in ("weighted_svd", "activation_svd", "svd")
        )
        for other in others:
            assert (best <= other * (1 + 1e-9) + 1e-12).all(), name


@pytest.mark.parametrize("zero", ["weight", "a", "g"])
def test_all_zero_problems_give_finite_weights(method: Method, zero: str):
    grouped = layer("grouped")
    module = grouped if method.applies(piece_of_layer(grouped)) else layer("3x3")
    p = problem_of_layer(module)
    parts = {"weight": p.weight, "a": p.a, "g": p.g}
    nothing = torch.zeros_like(parts[zero])
    parts[zero] = nothing if zero == "weight" else damped(nothing, 1e-6)
    problem = Problem(p.piece, **parts)
    state = method.prepare(problem)
    for form, loss in method.losses(state):
        assert 0 <= loss < float("inf")
        assert all(torch.isfinite(weight).all() for weight in method.build(state, form))


def test_an_unknown_method_lists_the_known_ones():
    with pytest.raises(InputError, match=r"'tucker9'.*known: .*spatial.*svd"):
        methods_named(["svd", "tucker9"])


def test_auto_is_what_fits_the_network():
    """Where `config.json` has one width for all blocks, all keep it."""
    assert fitting_methods(torch.nn.Linear(2, 2)) == list(DEFAULT_METHODS)
    assert fitting_methods(llama()) == ["pivoted_svd", "rounding", "backward_elimination"]
    assert fitting_methods(llama(), ["svd"]) == ["svd"]
    with pytest.raises(InputError, match="unknown method 'automatic'"):
        fitting_methods(llama(), "automatic")


def test_methods_are_found_by_name():
    selection = selection_named(DEFAULT_METHODS)
    assert selection is not None
    names = [*(m.name for m in methods_named(DEFAULT_METHODS)), ROUNDING, selection.name]
    assert names == list(DEFAULT_METHODS)
    assert methods_named("svd") == [METHODS["svd"]]
