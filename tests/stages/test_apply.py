"""A plan becomes a smaller network, or says what had to stay dense."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from eckart import Budget, Moments, Plan, allocate, apply, calibrate, curves, hull, measure
from eckart.errors import LeftDenseWarning, MismatchError
from eckart.layers import Factored
from eckart.methods import DEFAULT_METHODS
from stages.networks import Peeking, SmallCnn, mlp
from tolerances import tolerance

FACTORS = ("weighted_svd", "spatial")


def planned(model: nn.Module, batches: list[Any], **limits: float) -> tuple[Plan, Moments]:
    """A plan without removals, so that layers are factored whatever else would be better."""
    moments, budget = calibrate(model, batches), Budget(**(limits or {"params": 0.6}))
    return allocate(curves(model, moments, methods=FACTORS), budget), moments


def factored(model: nn.Module) -> set[str]:
    return {name for name, module in model.named_modules() if type(module) is Factored}


@pytest.fixture
def x() -> Tensor:
    return torch.randn(30, 12)


def test_a_copy_is_replaced_or_the_network_itself(x: Tensor):
    model = mlp(12, 16, 16, 4)
    plan, moments = planned(model, [x])
    weights = copy.deepcopy(model.state_dict())
    smaller = apply(model, plan, moments)
    assert factored(smaller) == set(plan.choices) != set()
    assert not factored(model)
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())
    assert not {id(p) for p in smaller.parameters()} & {id(p) for p in model.parameters()}
    assert apply(model, plan, moments, inplace=True) is model
    assert factored(model) == set(plan.choices)
    assert torch.equal(model(x), smaller(x))


def test_predicted_costs_are_the_measured_ones():
    model, batches = SmallCnn(), [torch.randn(6, 3, 9, 8)]
    moments = calibrate(model, batches)
    plans = hull(curves(model, moments))
    assert len(plans) > 5
    for plan in plans[:: len(plans) // 5]:
        found = measure(apply(model, plan, moments), batches[0], latency=False)
        assert plan.costs == {"params": found.params, "macs": found.macs, "bytes": found.bytes}


def test_the_network_carries_its_plan(x: Tensor):
    model = mlp(12, 16, 16, 4)
    plan, moments = planned(model, [x])
    assert apply(model, plan, moments).eckart_plan == plan
    assert not hasattr(model, "eckart_plan")


def test_another_networks_plan_or_moments_are_refused(x: Tensor):
    model, other = mlp(12, 16, 16, 4), mlp(12, 16, 16, 4)
    plan, moments = planned(model, [x])
    _, foreign = planned(other, [x])
    with pytest.raises(MismatchError, match=r"this plan came.*calibrate this network"):
        apply(other, plan, moments)
    with pytest.raises(MismatchError, match="these moments came from another network"):
        apply(model, plan, foreign)
    with pytest.raises(MismatchError, match="these moments came from another network"):
        curves(model, foreign)
    with torch.no_grad():
        model[0].weight.mul_(1.5)  # trained further
    with pytest.raises(MismatchError, match="with the weights it has now"):
        apply(model, plan, moments)


def test_a_plan_of_layers_without_moments_is_refused(x: Tensor):
    model = mlp(12, 16, 16, 4)
    plan, moments = planned(model, [x])
    with pytest.raises(MismatchError, match="layers without moments: 7"):
        apply(model, replace(plan, choices={"7": plan.choices["2"]}), moments)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtype_modes_and_gradients_are_kept(x: Tensor, dtype: torch.dtype):
    model = mlp(12, 16, 16, 4).to(dtype).train()
    model[2].eval()
    model[0].requires_grad_(False)
    model[2].bias.requires_grad_(False)
    plan, moments = planned(model, [x.to(dtype)], params=0.4)
    smaller = apply(model, plan, moments)
    assert {"0", "2"} <= factored(smaller)
    assert {p.dtype for p in smaller.parameters()} == {dtype}
    assert smaller.training
    assert all(module.training for module in smaller[0].modules())
    assert not any(module.training for module in smaller[2].modules())
    trainable = {name for name, p in smaller.named_parameters() if p.requires_grad}
    assert {"2.0.weight", "2.1.weight"} <= trainable
    assert not {"0.0.weight", "0.1.weight", "0.1.bias", "2.1.bias"} & trainable


def test_the_random_state_is_kept(x: Tensor):
    model = mlp(12, 16, 16, 4)
    plan, moments = planned(model, [x])
    before = torch.get_rng_state()
    apply(model, plan, moments)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_same_seed_gives_the_same_plan():
    model, batches = SmallCnn(), [torch.randn(6, 3, 9, 8)]
    first, second = (planned(model, batches)[0] for _ in range(2))
    assert first == second
    assert Plan.from_json(first.as_json()) == first


class Special(nn.Linear):
    pass


def tied(model: nn.Sequential) -> None:
    model[2].weight = model[0].weight


def subclassed(model: nn.Sequential) -> None:
    model[2] = Special(12, 12)


def twice(model: nn.Sequential) -> None:
    model[2] = model[0]


def normed(model: nn.Sequential) -> None:
    parametrizations.weight_norm(model[2])


def hooked(model: nn.Sequential) -> None:
    model[2].register_forward_hook(lambda module, args, output: output * 2)


@pytest.mark.parametrize(("change", "gone"), [(subclassed, 0), (normed, 12)])
def test_what_is_plain_in_all_but_its_class_is_replaced(x: Tensor, change: Any, gone: int):
    """The scales of weight norm go with it, beyond what the plan counts."""
    model = mlp(12, 12, 12, 12, 4)
    change(model)
    plan, moments = planned(model, [x], params=0.6)
    smaller = apply(model, plan, moments)
    assert "2" in factored(smaller)
    assert measure(smaller, x, latency=False).params == plan.costs["params"] - gone


@pytest.mark.parametrize("change", [tied, twice, hooked])
def test_what_cannot_be_replaced_stays_as_it_is(x: Tensor, change: Any):
    model = mlp(12, 12, 12, 12, 4)
    change(model)
    plan, moments = planned(model, [x], params=0.95)
    smaller = apply(model, plan, moments)
    assert "2" not in factored(smaller)
    assert factored(smaller)
    assert plan.dense.keys() >= moments.skipped.keys()
    found = measure(smaller, x, latency=False)
    assert (found.params, found.bytes) == (plan.costs["params"], plan.costs["bytes"])
    if change is tied:
        assert smaller[2].weight is smaller[0].weight
    if change is twice:
        assert smaller[2] is smaller[0]


@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
def test_a_lazy_layer_that_is_never_called_stays_lazy(x: Tensor):
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.unused = mlp(12, 16, 16, 4), nn.LazyLinear(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x)

    model = Unused()
    plan, moments = planned(model, [x])
    smaller = apply(model, plan, moments)
    assert type(smaller.unused) is nn.LazyLinear
    assert "lazily initialised" in plan.dense["unused"]
    assert factored(smaller) <= {"body.0", "body.2", "body.4"}


@pytest.fixture
def peeking() -> nn.Module:
    """In eval mode it reads its children's weights."""
    return nn.Sequential(nn.Linear(12, 16), Peeking(), nn.Linear(16, 12)).eval()


def test_layers_whose_parent_reads_their_weight_are_restored(peeking: nn.Module):
    batch = torch.randn(4, 5, 12)
    plan, moments = planned(peeking, [batch], params=0.75)
    read = {"1.linear1", "1.linear2"}
    assert read & set(plan.choices), "the plan must touch what its parent reads"
    with pytest.warns(LeftDenseWarning, match=r"left dense after all: 1\.linear"):
        smaller = apply(peeking, plan, moments)
    done = smaller.eckart_plan
    assert not read & factored(smaller)
    assert factored(smaller) == set(done.choices) == set(plan.choices) - read
    for name in read & set(plan.choices):
        assert "the network does not run with it replaced" in done.dense[name]
    assert done.loss == pytest.approx(sum(choice.loss for choice in done.choices.values()))
    found = measure(smaller, batch, latency=False)
    assert done.costs == {"params": found.params, "macs": found.macs, "bytes": found.bytes}
    with torch.no_grad():
        smaller(batch)  # runs in eval mode
    smaller.train()(batch).sum().backward()  # and in train mode


def test_a_restored_layer_of_a_copy_is_not_shared_with_the_network(peeking: nn.Module):
    plan, moments = planned(peeking, [torch.randn(4, 5, 12)], params=0.75)
    with pytest.warns(LeftDenseWarning):
        smaller = apply(peeking, plan, moments)
    theirs = {parameter.data_ptr() for parameter in smaller.parameters()}
    assert theirs.isdisjoint(parameter.data_ptr() for parameter in peeking.parameters())


def test_a_restored_layer_is_the_very_layer(peeking: nn.Module):
    plan, moments = planned(peeking, [torch.randn(4, 5, 12)], params=0.75)
    linear = peeking[1].linear1
    with pytest.warns(LeftDenseWarning):
        apply(peeking, plan, moments, inplace=True)
    assert peeking[1].linear1 is linear


class PeekingInTraining(nn.Module):
    """Reads a parameter of its children in train mode alone, as Mamba does."""

    def __init__(self) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return x + self.linear2(nn.functional.linear(x, self.linear1._parameters["weight"]))
        return x + self.linear2(self.linear1(x))


def test_layers_whose_parent_reads_their_weight_in_train_mode_are_restored():
    model = nn.Sequential(nn.Linear(12, 16), PeekingInTraining(), nn.Linear(16, 12)).eval()
    plan, moments = planned(model, [torch.randn(4, 12)], params=0.7)
    assert "1.linear1" in plan.choices
    with pytest.warns(LeftDenseWarning, match=r"1.linear1: .* \(in train mode, KeyError"):
        smaller = apply(model, plan, moments)
    assert "1.linear1" not in factored(smaller)
    assert smaller.train()(torch.randn(4, 12)).shape == (4, 12)


def zero_weights(model: nn.Sequential, x: Tensor) -> None:
    model[2].weight.zero_()


def dead_channels(model: nn.Sequential, x: Tensor) -> None:
    model[0].weight[::2] = 0
    model[0].bias[::2] = -1


def constant_inputs(model: nn.Sequential, x: Tensor) -> None:
    x.fill_(0.5)


def zero_inputs(model: nn.Sequential, x: Tensor) -> None:
    x.zero_()


def rank_one(model: nn.Sequential, x: Tensor) -> None:
    weight = model[2].weight
    weight.copy_(torch.outer(weight[:, 0], weight[0]))


@pytest.mark.parametrize(
    "change", [zero_weights, dead_channels, constant_inputs, zero_inputs, rank_one]
)
def test_rank_deficient_networks_lose_nothing_where_nothing_is_lost(x: Tensor, change: Any):
    model = mlp(12, 16, 16, 4)
    with torch.no_grad():
        change(model, x)
    moments = calibrate(model, [x])
    options = curves(model, moments, dense=["0", "4"] if change in (zero_weights, rank_one) else ())
    for plan in hull(options)[:3]:
        smaller = apply(model, plan, moments)
        assert all(torch.isfinite(p).all() for p in smaller.parameters())
        if change in (zero_weights, rank_one):
            assert plan.loss == pytest.approx(0, abs=1e-9)
            torch.testing.assert_close(smaller(x), model(x), **tolerance(torch.float32))


@pytest.mark.parametrize("methods", [FACTORS, DEFAULT_METHODS], ids=["factors", "both"])
def test_one_output_of_rank_one(x: Tensor, methods: tuple[str, ...]):
    model = nn.Sequential(nn.Linear(12, 16), nn.Linear(16, 1))
    moments = calibrate(model, [x])
    plan = allocate(curves(model, moments, methods=methods), Budget(params=0.3))
    assert plan.choices["0"].form.rank in (1, 2)
    torch.testing.assert_close(
        apply(model, plan, moments)(x), model(x), **tolerance(torch.float32)
    )  # one direction of the hidden layer is read, and it is kept


def test_grouped_convolutions_are_factored():
    model = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.Conv2d(8, 8, 3, groups=2), nn.Flatten())
    batch = torch.randn(8, 4, 7, 7)
    plan, moments = planned(model, [batch], params=0.8)
    smaller = apply(model, plan, moments)
    assert factored(smaller) == set(plan.choices) != set()
    found = measure(smaller, batch, latency=False)
    assert plan.costs == {"params": found.params, "macs": found.macs, "bytes": found.bytes}
