"""Removed channels from the prediction to the file: losses, costs, weights, plans."""

import copy
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from eckart import (
    Budget,
    BudgetError,
    Curves,
    Moments,
    Plan,
    allocate,
    apply,
    calibrate,
    compress,
    curves,
    hull,
    load,
    measure,
    merge,
    save,
)
from eckart.errors import InputError, LeftDenseWarning
from eckart.layers import as_matrix, piece_of, weight_of
from eckart.linalg import quadratic_loss
from eckart.methods import DEFAULT_METHODS, SELECTIONS, problem_of
from eckart.records import ChannelGroup, GroupCurve, Removal
from eckart.records.plans import NARROWED
from eckart.stages.allocate import uniform
from stages.channel_networks import KNOWN, REMOVABLE, Known
from tolerances import tolerance

RANKED = [
    *product(REMOVABLE, sorted(SELECTIONS.keys() - {"group_lasso"})),
    *product(["linear", "residual", "concatenated"], ["group_lasso"]),  # whose path takes a second
]


@dataclass(frozen=True)
class Case:
    """A network with its options."""

    known: Known
    model: nn.Module
    moments: Moments
    options: Curves


def unsampled(moments: Moments) -> Moments:
    """Without examples to measure removals on: losses stay what second moments say."""
    return replace(moments, sample=())


@cache
def offered(name: str, *methods: str) -> Case:
    """The named network with its options, made once."""
    torch.manual_seed(0)
    known = KNOWN[name]
    model = known.network()
    moments = calibrate(model, [known.batch(24)])
    return Case(known, model, moments, curves(model, moments, methods=methods or DEFAULT_METHODS))


@pytest.fixture(params=REMOVABLE)
def case(request: pytest.FixtureRequest) -> Case:
    return offered(request.param)


def narrower(options: Curves, count: int) -> list[Plan]:
    """So many plans of the hull that remove channels, evenly spread."""
    plans = [plan for plan in hull(options) if plan.removals]
    assert plans
    return plans[:: max(1, len(plans) // count)][:count]


def drawn(model: nn.Module, x: Tensor) -> Tensor:
    """The output, with the same random numbers in every call."""
    torch.manual_seed(1)
    return model(x)


def at_size(curve: GroupCurve, size: int) -> GroupCurve:
    """So many units, or all."""
    offered = {k: loss for k, loss in curve.losses.items() if k in (size, curve.group.size)}
    return replace(curve, losses=offered)


def whole(
    matrix: Tensor, group: ChannelGroup, kept: Iterable[int], name: str, width: int
) -> Tensor:
    """A reader's narrow matrix with zeros in the columns that it lost."""
    columns = torch.tensor(group.columns_left(name, kept, width))
    full = matrix.new_zeros(len(matrix), width, matrix.shape[1] // len(columns))
    full[:, columns] = matrix.unflatten(1, (len(columns), -1))
    return full.flatten(1)


@pytest.fixture(scope="module", params=RANKED, ids="-".join)
def ranked(request: pytest.FixtureRequest) -> Case:
    """In float64, with nothing but the channels to choose."""
    name, selection = request.param
    torch.manual_seed(0)
    known = KNOWN[name]
    model = known.network().double()
    moments = unsampled(calibrate(model, [known.batch(24).double()]))
    return Case(known, model, moments, curves(model, moments, methods=[selection]))


def test_a_selection_ranks_every_unit_once(ranked: Case):
    for curve in ranked.options.groups:
        assert sorted(curve.order) == list(range(curve.group.size))


def test_a_removal_loses_what_was_predicted(ranked: Case):
    model, moments = ranked.model, ranked.moments
    for curve in ranked.options.groups:
        plan = hull(replace(ranked.options, groups=(at_size(curve, curve.sizes[1]),)))[0]
        (removal,), smaller = plan.removals.values(), apply(model, plan, moments)
        group, measured = removal.group, 0.0
        for name in group.readers.keys() - group.writers.keys():
            problem = problem_of(model.get_submodule(name), name, moments, plan.damping)
            matrix = as_matrix(smaller.get_submodule(name))[0]
            fitted = whole(matrix, group, removal.kept, name, problem.piece.inputs)
            measured += quadratic_loss(problem.weight - fitted, problem.a, problem.g)
        if group.readers.keys() & group.writers.keys():
            assert measured <= removal.loss
        else:
            assert measured == pytest.approx(removal.loss, rel=1e-6, abs=1e-12)


def test_predicted_costs_are_the_measured_ones(case: Case):
    for plan in narrower(case.options, 4):
        smaller = apply(case.model, plan, case.moments)
        found = measure(smaller, case.known.batch(), latency=False)
        assert plan.costs == {"params": found.params, "macs": found.macs, "bytes": found.bytes}


@pytest.mark.parametrize("metric", ["macs", "bytes"])
def test_hulls_of_other_costs_are_narrower_too(metric: str):
    options = offered("separable").options
    costs = [plan.costs[metric] for plan in narrower(options, 100)]
    assert costs == sorted(costs)
    assert costs[0] < options.totals[metric]


def end_to_end(model: nn.Module) -> Tensor:
    first, second = (weight_of(layer).detach() for layer in merge(model))
    return second @ first


@pytest.mark.parametrize("factored", ["0", "1"], ids=["writer", "reader"])
def test_removing_and_factoring_add_up_where_nothing_bends(factored: str):
    """Gradients of removed channels count at their heirs: exact between linear layers."""
    model = nn.Sequential(nn.Linear(25, 24, bias=False), nn.Linear(24, 20, bias=False)).double()
    moments = unsampled(calibrate(model, [torch.randn(90, 25, dtype=torch.float64)]))
    methods = ("weighted_svd", "backward_elimination")
    options = curves(model, moments, methods=methods, damping=1e-9)
    (other,), (curve,) = {"0", "1"} - {factored}, options.groups
    options = replace(options, groups=(at_size(curve, 18),)).without({other: "not factored"})
    plans = [p for p in narrower(options, 30) if not p.choices[factored].form.is_plain]
    assert len(plans) > 5
    a, g = moments.a("0")[0], moments.g("1")[0]
    dense = end_to_end(model)
    for plan in plans:
        change = dense - end_to_end(apply(model, plan, moments))
        assert quadratic_loss(change, a, g) == pytest.approx(plan.loss, rel=1e-4)


def test_two_selections_at_once_are_refused():
    with pytest.raises(InputError, match="largest_norm and group_lasso both choose channels"):
        offered("linear", "largest_norm", "group_lasso")


def test_without_a_selection_all_channels_stay():
    options = offered("linear", "weighted_svd").options
    assert (options.groups, options.whole) == ((), {})


def test_a_uniform_plan_keeps_all_channels():
    plan = uniform(offered("pooled").options, Budget(params=0.8))
    assert plan.removals == {}
    assert plan.costs["params"] <= 0.8 * plan.totals["params"]


@pytest.mark.parametrize(
    ("name", "last"),
    [("linear", 2), ("flattened", 3), ("pooled", 4), ("separable", 5), ("PReLU", 2)],
)
def test_a_channel_that_is_always_zero_goes_free_of_loss(name: str, last: int):
    known = KNOWN[name]
    model, x = known.network(), known.batch(24)
    with torch.no_grad():
        for layer in list(model)[:last]:
            for parameter in layer.parameters():
                parameter[2] = 0
    moments = calibrate(model, [x])
    options = curves(model, moments, methods=["backward_elimination"])
    (curve,) = options.groups
    one_less = replace(options, groups=(at_size(curve, curve.group.size - 1),))
    plan = hull(one_less)[0]
    assert plan.loss <= 1e-4 * curve.losses[1]
    torch.testing.assert_close(apply(model, plan, moments)(x), model(x), rtol=1e-4, atol=1e-4)


def test_a_saved_network_comes_back_to_the_bit(case: Case, tmp_path: Path):
    known, x = case.known, case.known.batch(5)
    for plan in narrower(case.options, 3):
        smaller = apply(case.model, plan, case.moments)
        save(smaller, tmp_path)
        fresh = load(known.network(), tmp_path)
        assert torch.equal(drawn(fresh, x), drawn(smaller, x))
        assert fresh.eckart_plan == smaller.eckart_plan


def test_a_merged_network_keeps_its_widths_and_comes_back(case: Case, tmp_path: Path):
    known, x = case.known, case.known.batch(5)
    smaller = apply(case.model, narrower(case.options, 3)[-1], case.moments)
    merged = merge(smaller)
    torch.testing.assert_close(drawn(merged, x), drawn(smaller, x), **tolerance(torch.float32))
    save(merged, tmp_path)
    assert torch.equal(drawn(load(known.network(), tmp_path), x), drawn(merged, x))
    before = sum(p.numel() for p in case.model.parameters())
    assert sum(p.numel() for p in merged.parameters()) < before


def test_plans_with_removals_survive_json(case: Case):
    for plan in narrower(case.options, 3):
        assert Plan.from_json(json.loads(plan.dumps())) == plan
        for removal in plan.removals.values():
            assert Removal.from_json(json.loads(json.dumps(removal.as_json()))) == removal


@pytest.mark.parametrize(
    ("multiple", "sizes"), [(2, [2, 4, 6, 8, 10]), (4, [4, 8, 10]), (7, [7, 10]), (16, [10])]
)
def test_numbers_of_channels_on_a_grid(multiple: int, sizes: list[int]):
    model, x = KNOWN["deep linear"].network(), KNOWN["deep linear"].batch(24)
    options = curves(model, calibrate(model, [x]), multiple=multiple)
    (curve,) = (curve for curve in options.groups if curve.group.size == 10)
    assert curve.sizes == sizes


def test_one_channel_stays_where_all_are_dead():
    model, x = KNOWN["linear"].network(), KNOWN["linear"].batch(24)
    nn.init.constant_(model[0].bias, -100.0)
    moments = calibrate(model, [x])
    cheapest = hull(curves(model, moments))[0]
    smaller = apply(model, cheapest, moments)
    assert len(cheapest.removals["0"].kept) == 1
    assert cheapest.loss == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(smaller(x), model(x), **tolerance(torch.float32))


@pytest.mark.parametrize("name", ["residual", "separable", "concatenated"])
def test_the_least_that_is_reachable_is(name: str):
    options = offered(name).options
    with pytest.raises(BudgetError, match="least reachable is") as refusal:
        allocate(options, Budget(params=1))
    least = int(str(refusal.value).split("least reachable is ")[1].split()[0])
    assert allocate(options, Budget(params=least)).costs["params"] == least
    with pytest.raises(BudgetError):
        allocate(options, Budget(params=least - 1))


@pytest.mark.parametrize("limits", [{"params": 0.7}, {"params": 0.8, "macs": 0.6}], ids=str)
def test_a_plan_keeps_to_its_budget_and_its_bound(case: Case, limits: dict[str, float]):
    plan = allocate(case.options, Budget(**limits))
    for name, limit in limits.items():
        assert plan.costs[name] <= limit * plan.totals[name]
    assert 0 <= plan.bound <= plan.loss


class Checked(nn.Module):
    """Looks at the parameter, of rank four, of a layer that loses channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(8, 24), nn.Linear(24, 24), nn.Linear(24, 3)
        self.second.weight.data.copy_(torch.randn(24, 4) @ torch.randn(4, 24) / 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        if not self.second.get_parameter("weight").isfinite().all():
            raise ValueError("not finite")
        return self.third(torch.relu(self.second(x)))


def restorable(options: Curves) -> Plan:
    """A plan that factors the layer which is looked at, at fewer channels."""
    return next(
        plan
        for plan in hull(options)
        if plan.removals.keys() == {"first", "second"} and not plan.choices["second"].form.is_plain
    )


def test_a_layer_that_cannot_be_factored_after_all_stays_narrower():
    model, x = Checked(), torch.randn(40, 8)
    moments = calibrate(model, [x])
    plan = restorable(curves(model, moments))
    with pytest.warns(LeftDenseWarning, match=r"left dense after all: second"):
        smaller = apply(model, plan, moments)
    done, kept = smaller.eckart_plan, plan.removals
    assert type(smaller.second) is nn.Linear
    assert smaller.second.weight.shape == (len(kept["second"].kept), len(kept["first"].kept))
    assert done.choices["second"].method == NARROWED
    assert done.choices["second"].form.pieces == (piece_of(smaller.second),)
    assert "does not run with it replaced" in done.dense["second"]
    assert (done.removals, done.bound) == (kept, 0.0)
    assert done.loss == pytest.approx(plan.loss - plan.choices["second"].loss)
    found = measure(smaller, x, latency=False)
    assert done.costs == {"params": found.params, "macs": found.macs, "bytes": found.bytes}


def test_dtype_modes_and_gradients_are_kept():
    known = KNOWN["separable"]
    model = known.network().bfloat16()
    model[2].train()
    model[0].weight.requires_grad_(False)
    model[5].bias.requires_grad_(False)
    moments = calibrate(model, [known.batch(24).bfloat16()])
    options = curves(model, moments, methods=["backward_elimination"])
    smaller = apply(model, narrower(options, 1)[0], moments)
    assert {p.dtype for p in smaller.parameters()} == {torch.bfloat16}
    before, after = [
        ([m.training for m in network], [p.requires_grad for p in network.parameters()])
        for network in (model, smaller)
    ]
    assert before == after


def test_the_network_itself_is_narrowed_when_asked():
    case = offered("residual")
    model, plan, x = copy.deepcopy(case.model), narrower(case.options, 3)[1], case.known.batch(5)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    smaller = apply(model, plan, case.moments)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert apply(model, plan, case.moments, inplace=True) is model
    assert torch.equal(model(x), smaller(x))


def test_a_budget_holds_where_layers_had_to_be_restored():
    model = Checked()
    moments = calibrate(model, [torch.randn(40, 8)])
    plan = restorable(curves(model, moments))
    most = plan.costs["params"]
    with pytest.warns(LeftDenseWarning, match="left dense after all: second"):
        smaller = compress(model, moments, budget=Budget(params=most))
    assert sum(p.numel() for p in smaller.model.parameters()) <= most


def test_compressing_removes_channels_unless_asked_not_to():
    known = KNOWN["pooled"]
    model, x = known.network(), known.batch(40)
    assert compress(model, [x], keep=0.4).plan.removals
    assert not compress(model, [x], keep=0.7, methods=["weighted_svd"]).plan.removals
    with pytest.raises(InputError, match="both choose channels"):
        compress(model, [x], keep=0.4, methods=["largest_norm", "group_lasso"])
