"""What every registered twin promises: it computes what the module does, of plain layers."""

import copy
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from eckart import Moments, calibrate, compress, load, merge, save
from eckart.layers import Factored, type_of
from eckart.network.identity import fingerprint
from eckart.network.survey import survey
from eckart.network.twins import TWINS, Twin, closed, composites, opened
from tolerances import tolerance
from twin_zoo import CASES, Case, Within

CLOSE = tolerance(torch.float32)
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
pytestmark = [
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning"),
    pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning"),
]


@cache
def calibrated(name: str) -> tuple[nn.Module, Moments]:
    """A network with the composite in it, and its moments."""
    case = CASES[name]
    network = Within(case).eval()
    return network, calibrate(network, [case.given[0]])


@pytest.mark.parametrize("name", sorted(TWINS))
def test_every_twin_is_tried(name: str):
    assert isinstance(TWINS[name], Twin)
    assert TWINS[name].name == name
    tried = [c for case in CASES.values() for c in composites(case.module())]
    assert any(c.twin is TWINS[name] for c in tried), f"add a module of {name} to twin_zoo.py"


@each_case
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_outputs_and_gradients_are_those_of_the_module(case: Case, training: bool):
    if training and not case.trains_alike:
        pytest.skip("the module itself changes its weight in train mode")
    found = []
    for module in (case.module(), opened(case.module())):
        x = case.given[0].clone().requires_grad_()
        torch.manual_seed(3)
        outputs = case.outputs(module.train(training), x)
        sum(y.square().sum() for y in outputs if y.requires_grad).backward()
        found.append([*outputs, x.grad])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(theirs, ours, **CLOSE)


@each_case
def test_its_parameters_are_in_plain_layers(case: Case):
    module = case.module()
    twin = opened(module)
    assert twin is not module
    assert opened(twin) is twin
    found, _ = survey(nn.Sequential(twin))
    inside = {id(p) for layer in found.values() for p in layer.parameters()}
    assert all(p.squeeze().dim() < 2 for p in twin.parameters() if id(p) not in inside)


@each_case
def test_opening_takes_no_memory_and_changes_nothing(case: Case):
    module = case.module().train()
    before = fingerprint(module), [p.requires_grad for p in module.parameters()]
    twin = opened(module)
    assert (fingerprint(module), [p.requires_grad for p in module.parameters()]) == before
    assert twin.training
    held = {p.untyped_storage().data_ptr() for p in module.parameters()}
    if not case.computed:
        assert {p.untyped_storage().data_ptr() for p in twin.parameters()} <= held


@each_case
def test_closed_again_it_has_the_numbers_that_it_had(case: Case):
    module = case.module()
    again = closed(copy.deepcopy(opened(module)))
    if type(module).__module__.startswith("torch.nn") and not case.computed:
        assert type(again) is type(module)
        torch.testing.assert_close(
            dict(again.state_dict()), dict(module.state_dict()), rtol=0, atol=0
        )
    for ours, theirs in zip(case.outputs(again), case.outputs(module), strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)


@each_case
def test_it_is_exported_where_the_module_is(case: Case):
    x = case.given
    torch.compiler.reset()  # older versions of torch export only a few modules of one class
    try:
        found = torch.export.export(opened(case.module()), x, dict(case.named)).module()
    except Exception:
        with suppress(Exception):
            torch.export.export(case.module(), x, dict(case.named))
            pytest.fail("the module itself is exported")
        pytest.skip("the module itself is not exported")
    for ours, theirs in zip(case.outputs(found), case.outputs(case.module()), strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)


@pytest.mark.parametrize("name", CASES)
def test_the_whole_way_to_a_saved_network(name: str, tmp_path: Path):
    case, (network, moments) = CASES[name], calibrated(name)
    x = case.given[0]
    assert moments.fingerprint == fingerprint(network)
    smaller = compress(network, moments, keep=0.6, methods=["weighted_svd"])
    assert any(type(m) is Factored for m in smaller.model.inner.modules())
    assert smaller.plan.costs["params"] >= sum(p.numel() for p in smaller.model.parameters())
    assert not {id(p) for p in smaller.model.parameters()} & {id(p) for p in network.parameters()}
    save(smaller.model, tmp_path)
    loaded = load(Within(case).eval(), tmp_path)
    assert torch.equal(loaded(x), smaller.model(x))
    assert torch.equal(copy.deepcopy(loaded)(x), smaller.model(x))
    torch.testing.assert_close(merge(loaded)(x), loaded(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", CASES)
def test_what_is_not_changed_stays_of_its_class(name: str, tmp_path: Path):
    case, (network, moments) = CASES[name], calibrated(name)
    x = case.given[0]
    inside = [name for name in moments.specs if name.startswith("inner")]
    smaller = compress(network, moments, keep=0.99, dense=inside, methods=["weighted_svd"])
    kinds = [type(m) for m in network.inner.modules()]
    assert [type(m) for m in smaller.model.inner.modules()] == kinds
    save(smaller.model, tmp_path)
    assert torch.equal(load(Within(case).eval(), tmp_path)(x), smaller.model(x))


def test_a_network_without_composites_is_not_copied():
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    assert opened(network) is network
    assert type_of(network[0]) is not None
