"""What every registered cost promises, and that the three own ones are what a module has."""

import pytest

from eckart.costs import COSTS, Cost, cost_named
from eckart.errors import InputError
from eckart.records import LayerSpec
from layer_zoo import EVEN_WARNING, LAYERS, inputs, layer, real_cost, spec_of

pytestmark = pytest.mark.filterwarnings(f"ignore:{EVEN_WARNING}")


@pytest.fixture(params=sorted(COSTS))
def cost(request: pytest.FixtureRequest) -> Cost:
    return COSTS[request.param]


def test_a_cost_is_registered_under_its_name_with_a_unit(cost: Cost):
    assert cost_named(cost.name) is cost
    assert cost.unit


def test_a_cost_is_what_a_layer_has(cost: Cost):
    """Those of factors are in ``test_methods.py``."""
    for name in LAYERS:
        module = layer(name)
        example = inputs(module, n=1)
        spec = spec_of(module, example)
        value, real = cost.of(spec, spec.dense), real_cost(cost.name, module, example)
        free = cost.name == "macs" and name == "table"  # nothing is multiplied
        assert real is None or (value == real and (real > 0 or free)), name


def test_macs_add_up_over_calls():
    module = layer("strided")
    one = spec_of(module, inputs(module))
    form, macs = one.dense, COSTS["macs"].of
    twice = LayerSpec(
        name="layer",
        type=one.type,
        dense=form,
        sizes=one.sizes * 2,
        itemsize=one.itemsize,
        input="layer",
    )
    assert macs(twice, form) == 2 * macs(one, form)
    assert COSTS["params"].of(twice, form) == COSTS["params"].of(one, form)


def test_an_unknown_cost_names_the_known_ones():
    with pytest.raises(InputError, match=r"'flops'.*known: active_params, bytes, macs, params"):
        cost_named("flops")
