"""Layers that read one input share a factor where that is cheaper, from curves to a network."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from eckart import (
    Budget,
    Curves,
    LeftDenseWarning,
    MismatchError,
    Moments,
    Plan,
    allocate,
    apply,
    calibrate,
    compress,
    curves,
    heal,
    hull,
    load,
    measure,
    merge,
    save,
)
from eckart.costs import COSTS
from eckart.layers import Factored, firsts_shared
from eckart.stages.allocate import uniform
from tolerances import tolerance

METHODS = ("pivoted_svd", "shared_svd")
TOGETHER = ("query", "key", "value")


class Attention(nn.Module):
    """Three layers that read one input, and one that reads what they make."""

    def __init__(self, width: int = 12, inner: int = 10) -> None:
        super().__init__()
        self.query = nn.Linear(width, inner)
        self.key = nn.Linear(width, inner, bias=False)
        self.value = nn.Linear(width, 6)
        self.out = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.query(x) @ self.key(x).mT
        return self.out(scores.softmax(-1) @ self.value(x)).mean(1)


@pytest.fixture
def network() -> Attention:
    """One whose three layers see few directions of their input, the same ones."""
    torch.manual_seed(0)
    model = Attention().eval()
    seen = torch.randn(3, 12)
    with torch.no_grad():
        for name in TOGETHER:
            weight = model.get_submodule(name).weight
            weight.copy_(torch.randn(len(weight), 3) @ seen + 0.05 * torch.randn_like(weight))
    return model


@pytest.fixture
def x() -> Tensor:
    return torch.randn(40, 5, 12)


@pytest.fixture
def moments(network: Attention, x: Tensor) -> Moments:
    return calibrate(network, [x])


@pytest.fixture
def options(network: Attention, moments: Moments) -> Curves:
    return curves(network, moments, methods=METHODS)


@pytest.fixture
def plan(options: Curves) -> Plan:
    """One that shares."""
    found = allocate(options, Budget(params=0.6))
    assert TOGETHER in found.together
    return found


def test_layers_that_read_one_input_are_one_site_more(options: Curves, network: Attention):
    (site,) = options.shared
    assert site.site.layers == TOGETHER
    assert site.site.name == "(query, key, value)"
    assert all(len(together) == 3 for together in site.options)
    whole = sum(options.specs[name].dense.params for name in TOGETHER)
    assert all(sum(o.form.params for o in together) < whole for together in site.options)
    count = sum(len(curve.options) for curve in options.curves) + len(site.options)
    assert str(options).startswith(f"{count} options at 5 sites")


def test_a_layer_that_is_to_stay_dense_shares_nothing(network: Attention, moments: Moments):
    (site,) = curves(network, moments, methods=METHODS, dense=["key"]).shared
    assert site.site.layers == ("query", "value")
    assert not curves(network, moments, methods=METHODS, dense=["key", "value"]).shared
    assert not curves(network, moments, methods=["pivoted_svd"]).shared


def test_layers_around_which_channels_may_go_share_nothing(x: Tensor):
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.up, self.down = nn.Linear(12, 9), nn.Linear(12, 9), nn.Linear(9, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.down(self.gate(x).sigmoid() * self.up(x)).mean(1)

    model = Gated().eval()
    moments = calibrate(model, [x])
    both = curves(model, moments, methods=[*METHODS, "backward_elimination"])
    assert both.groups
    assert not both.shared
    assert curves(model, moments, methods=METHODS).shared


def test_ranks_are_on_the_grid(network: Attention, moments: Moments):
    (site,) = curves(network, moments, methods=METHODS, multiple=3, least_rank=5).shared
    assert {option.form.rank for together in site.options for option in together} == {6, 9}


def test_rescaling_multiplies_each_layers_part(network: Attention, moments: Moments):
    plain, scaled = (
        curves(network, moments, methods=METHODS, rescale=rescale) for rescale in (False, True)
    )
    (before,), (after,) = plain.shared, scaled.shared
    for name, a, b in zip(TOGETHER, before.options[0], after.options[0], strict=True):
        own = [
            next(c for c in found.curves if c.site.name == name).options[0].loss
            for found in (plain, scaled)
        ]
        assert b.loss / a.loss == pytest.approx(own[1] / own[0])


def every_plan(options: Curves, metric: str) -> list[tuple[int, float]]:
    """Cost and loss of every choice there is."""
    of, specs = COSTS[metric].of, options.specs
    own = {
        curve.site.name: [(of(specs[curve.site.name], o.form), o.loss) for o in curve.options]
        for curve in options.curves
    }
    (site,) = options.shared
    shared = [
        (
            sum(of(specs[n], o.form) for n, o in zip(site.site.layers, together, strict=True)),
            sum(option.loss for option in together),
        )
        for together in site.options
    ]
    apart = product(*(own[name] for name in site.site.layers))
    stack = [*shared, *((sum(c for c, _ in p), sum(v for _, v in p)) for p in apart)]
    rest = [own[name] for name in own if name not in site.site.layers]
    return [
        (cost + sum(c for c, _ in others), loss + sum(v for _, v in others))
        for cost, loss in stack
        for others in product(*rest)
    ]


@pytest.mark.parametrize("metric", ["params", "macs"])
@pytest.mark.parametrize("keep", [0.9, 0.6, 0.4])
def test_no_choice_is_better(options: Curves, metric: str, keep: float):
    budget = Budget(costs={metric: keep}, of="sites")
    found = allocate(options, budget)
    dense = sum(COSTS[metric].of(spec, spec.dense) for spec in options.specs.values())
    best = min(loss for cost, loss in every_plan(options, metric) if cost <= keep * dense)
    assert found.loss == pytest.approx(best)
    assert found.bound == pytest.approx(best)


def test_multiply_adds_are_not_shared(options: Curves):
    """Each layer multiplies by the first factor itself, so that sharing saves none."""
    assert allocate(options, Budget(macs=0.6)).together != [TOGETHER]


def test_uniform_shares_nothing(options: Curves):
    assert all(len(names) == 1 for names in uniform(options, Budget(params=0.7)).together)


def test_predicted_costs_are_the_measured_ones(
    network: Attention, options: Curves, moments: Moments, x: Tensor
):
    plans = hull(options)
    assert any(TOGETHER in plan.together for plan in plans)
    for plan in plans:
        found = measure(apply(network, plan, moments), x, latency=False)
        assert plan.costs == {"params": found.params, "macs": found.macs, "bytes": found.bytes}


def test_the_loss_is_that_of_what_is_built(network: Attention, plan: Plan, moments: Moments):
    smaller = apply(network, plan, moments)
    assert firsts_shared(smaller) == {"key": "query", "value": "query"}
    assert smaller.key[0] is smaller.query[0]
    total = 0.0
    for name in plan.choices:
        dense, merged = (m.get_submodule(name).weight.double() for m in (network, merge(smaller)))
        change = (dense - merged).detach()
        a, g = moments.loss_a(name)[0], moments.g(name)[0]
        total += 0.5 * float(((g @ change @ a) * change).sum())
    assert total == pytest.approx(plan.loss, rel=1e-3)


@pytest.mark.parametrize("inplace", [False, True])
def test_the_network_is_copied_or_changed(
    network: Attention, plan: Plan, moments: Moments, x: Tensor, inplace: bool
):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    expected = apply(network, plan, moments)(x)
    smaller = apply(network, plan, moments, inplace=inplace)
    assert torch.equal(smaller(x), expected)
    assert (smaller is network) == inplace
    if not inplace:
        assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_it_is_saved_loaded_and_merged_to_the_bit(
    network: Attention, plan: Plan, moments: Moments, x: Tensor, tmp_path: Path
):
    smaller = apply(network, plan, moments)
    save(smaller, tmp_path)
    again = load(Attention().eval(), tmp_path)
    assert torch.equal(again(x), smaller(x))
    assert firsts_shared(again) == firsts_shared(smaller)
    assert again.eckart_plan == plan
    assert sum(p.numel() for p in again.parameters()) == plan.costs["params"]
    torch.testing.assert_close(merge(again)(x), smaller(x), **tolerance(torch.float32))


def test_decompositions_are_remembered_on_disk(network: Attention, x: Tensor, tmp_path: Path):
    found = [
        compress(
            network, [x], keep=0.6, methods=METHODS, metric=None, workspace=tmp_path, of="sites"
        )
        for _ in range(2)
    ]
    assert found[0].plan.together == [TOGETHER]
    assert torch.equal(found[0].model(x), found[1].model(x))
    (path,) = tmp_path.rglob("*shared_svd*")
    assert path.stat().st_size > 0


class Peeking(Attention):
    """One that reads a weight by itself."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 0 * self.key.weight.sum()


@pytest.mark.parametrize("inplace", [False, True])
def test_where_one_of_them_breaks_all_stay_dense(network: Attention, x: Tensor, inplace: bool):
    model = Peeking().eval()
    model.load_state_dict(network.state_dict())
    moments = calibrate(model, [x])
    plan = allocate(curves(model, moments, methods=METHODS), Budget(params=0.6))
    assert plan.together == [TOGETHER]
    expected = model(x)
    with pytest.warns(LeftDenseWarning, match="key: the network does not run"):
        smaller = apply(model, plan, moments, inplace=inplace)
    done = smaller.eckart_plan
    assert set(done.dense) >= set(TOGETHER)
    assert "shares a factor with" in done.dense["value"]
    assert done.costs["params"] == sum(p.numel() for p in smaller.parameters())
    if not plan.choices.keys() - set(TOGETHER):
        assert torch.equal(smaller(x), expected)


def test_compress_chooses_anew_where_one_of_them_breaks(network: Attention, x: Tensor):
    model = Peeking().eval()
    model.load_state_dict(network.state_dict())
    with pytest.warns(LeftDenseWarning):
        found = compress(model, [x], keep=0.8, methods=METHODS)
    assert found.plan.costs["params"] <= 0.8 * found.plan.totals["params"]
    assert "key" in found.plan.dense


def test_a_plan_whose_first_layer_is_missing_is_refused(
    network: Attention, plan: Plan, moments: Moments
):
    others = {name: choice for name, choice in plan.choices.items() if name != "query"}
    with pytest.raises(MismatchError, match="shares a factor of query"):
        apply(network, replace(plan, choices=others), moments)


@pytest.mark.parametrize("treatment", ["correct", "refit", "distil"])
def test_healing_keeps_what_is_shared(
    network: Attention, plan: Plan, moments: Moments, treatment: str
):
    data = torch.randn(200, 5, 12)
    smaller = apply(network, plan, moments)
    healed = heal(
        smaller, network, [data], moments=moments, treatments=[treatment], steps=20, progress=False
    )
    assert firsts_shared(healed.model) == firsts_shared(smaller)
    with torch.no_grad():
        gaps = [(m(data) - network(data)).square().sum() for m in (healed.model, smaller)]
    assert gaps[0] <= 1.02 * gaps[1]


def test_refit_leaves_the_shared_factor_as_it_is(network: Attention, plan: Plan, moments: Moments):
    """What it would change for one layer it would change for the others."""
    smaller = apply(network, plan, moments)
    data = torch.randn(200, 5, 12)
    scores = iter(range(100))
    healed = heal(
        smaller,
        network,
        [data],
        moments=moments,
        treatments=["refit"],
        evaluate=lambda m: float(next(scores)),
    )
    for name in TOGETHER:
        for mine, before in zip(
            healed.model.get_submodule(name).parameters(),
            smaller.get_submodule(name).parameters(),
            strict=True,
        ):
            assert torch.equal(mine, before)


def test_factors_are_not_compressed_again(network: Attention, plan: Plan, moments: Moments):
    smaller = apply(network, plan, moments)
    again = calibrate(smaller, [torch.randn(30, 5, 12)])
    assert "factor of 'query'" in again.skipped["query.0"]
    assert not {name for name in again.specs if name.split(".")[0] in TOGETHER}


def test_convolutions_share_too():
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Conv2d(6, 8, 3, padding=1), nn.Conv2d(6, 5, 3, padding=1)
            self.head = nn.Linear(13, 3)

        def forward(self, x: Tensor) -> Tensor:
            both = torch.cat([self.left(x), self.right(x)], 1)
            return self.head(both.relu().mean((2, 3)))

    torch.manual_seed(0)
    model, x = Branches().eval(), torch.randn(8, 6, 7, 7)
    moments = calibrate(model, [x], metric=None)
    options = curves(model, moments, methods=["shared_svd"])
    smaller = apply(model, allocate(options, Budget(params=0.5)), moments)
    assert firsts_shared(smaller) == {"right": "left"}
    assert type(smaller.right) is Factored
    torch.testing.assert_close(merge(smaller)(x), smaller(x), **tolerance(torch.float32))
