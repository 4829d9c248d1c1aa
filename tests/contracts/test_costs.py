"""What every registered cost promises, and that the three own ones are what a module has."""

import pytest
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from eckart.costs import COSTS, Cost, cost_named
from eckart.errors import InputError
from eckart.methods import METHODS
from eckart.records import Form, LayerSpec
from layer_zoo import EVEN_WARNING, LAYERS, inputs, layer, piece_of_layer, spec_of
from prepared_layers import prepared_for

pytestmark = pytest.mark.filterwarnings(f"ignore:{EVEN_WARNING}")


def measured(name: str, module: nn.Module, example: Tensor) -> int | None:
    """The cost read off a real module, for the costs that can be."""
    if name == "macs":
        with FlopCounterMode(display=False) as counter:
            module(example)
        return counter.get_total_flops() // 2
    parameters = list(module.parameters())
    if name == "params":
        return sum(p.numel() for p in parameters)
    return sum(p.numel() * p.element_size() for p in parameters) if name == "bytes" else None


def offers(name: str) -> list[tuple[Form, nn.Module]]:
    """Dense and everything that the methods offer for a layer, as modules."""
    module = layer(name)
    found = [(Form((piece_of_layer(module),)), module)]
    for prepared in (prepared_for(method, name) for method in METHODS):
        if prepared is not None:
            found += [(built.form, built) for built in prepared.factored]
    return found


@pytest.fixture(params=sorted(COSTS))
def cost(request: pytest.FixtureRequest) -> Cost:
    return COSTS[request.param]


def test_a_cost_is_registered_under_its_name_with_a_unit(cost: Cost):
    assert cost_named(cost.name) is cost
    assert cost.unit


@pytest.mark.parametrize("name", LAYERS)
def test_a_cost_is_what_the_module_has(cost: Cost, name: str):
    module = layer(name)
    example = inputs(module, n=1)
    spec = spec_of(module, example)
    for form, built in offers(name):
        value = cost.of(spec, form)
        assert isinstance(value, int)
        assert value > 0
        real = measured(cost.name, built, example)
        assert real is None or value == real, form


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
    with pytest.raises(InputError, match=r"'flops'.*known: bytes, macs, params"):
        cost_named("flops")
