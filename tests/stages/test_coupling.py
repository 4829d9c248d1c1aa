"""The groups of channels that a network is known to have, and no others, are found."""

import copy
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eckart import calibrate, curves
from eckart.layers import weight_of
from eckart.network.channel_groups import Coupling, coupling
from eckart.network.removal import without_units
from eckart.records import ChannelGroup
from eckart.records.channels import Units
from stages.channel_networks import KNOWN, REMOVABLE, Group, Known
from stages.networks import mlp
from tolerances import tolerance
from transformer_networks import llama

each_network = pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN)
each_removable = pytest.mark.parametrize("known", [KNOWN[n] for n in REMOVABLE], ids=REMOVABLE)


class Side(nn.Module):
    """Two networks on one input."""

    def __init__(self, left: nn.Module, right: nn.Module) -> None:
        super().__init__()
        self.left, self.right = left, right

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.left(x), self.right(x)


def found(known: Known) -> tuple[nn.Module, Coupling]:
    model = known.network()
    return model, coupling(model, known.batch())


def test_a_network_that_cannot_be_copied_keeps_its_channels():
    model = mlp(6, 8, 3)
    model.lock = threading.Lock()
    result = coupling(model, torch.randn(1, 6))
    assert result.groups == ()
    assert "cannot be copied" in result.refused["channels"]


def channels(units: Units) -> list[int]:
    return sorted(channel for unit in units for channel in unit)


def sides(group: ChannelGroup) -> Iterator[dict[str, Units]]:
    yield from (dict(group.writers), dict(group.readers), dict(group.followers))


def members(group: Group) -> set[str]:
    return {*group.writers, *group.readers, *group.followers}


def state_of(model: nn.Module) -> dict[str, Any]:
    """All that looking at a network could change."""
    return {
        "tensors": {name: tensor.tolist() for name, tensor in model.state_dict().items()},
        "random": torch.get_rng_state().tolist(),
        "modules": [id(module) for module in model.modules()],
        "modes": [module.training for module in model.modules()],
        "hooks": [list(module._forward_hooks) for module in model.modules()],
        "frozen": [(id(p), p.requires_grad, p.grad) for p in model.parameters()],
    }


@torch.no_grad()
def masked(model: nn.Module, gone: Iterable[tuple[ChannelGroup, list[int]]]) -> nn.Module:
    """A copy in which nobody reads these units."""
    twin = copy.deepcopy(model)
    for group, units in gone:
        for name in group.readers:
            weight_of(twin.get_submodule(name))[:, group.columns(name, units)] = 0
    return twin


def removed(model: nn.Module, gone: Iterable[tuple[ChannelGroup, list[int]]]) -> nn.Module:
    """A copy without these units."""
    twin = copy.deepcopy(model)
    without_units(twin, [(g, sorted(set(range(g.size)) - set(units))) for g, units in gone])
    return twin


def drawn(model: nn.Module, x: Tensor) -> Tensor:
    """The output, with the same random numbers in every call."""
    torch.manual_seed(1)
    return model(x)


@each_network
def test_the_groups_are_those_that_the_network_has(known: Known):
    _, result = found(known)
    assert {g.name: g.size for g in result.groups} == {k: g.size for k, g in known.groups.items()}
    for group in result.groups:
        expected = known.groups[group.name]
        for side, sizes in zip(
            sides(group), (expected.writers, expected.readers, expected.followers), strict=True
        ):
            assert {n: max(map(len, units)) for n, units in side.items()} == sizes


@each_removable
def test_every_channel_is_of_one_unit(known: Known):
    for group in found(known)[1].groups:
        for side in sides(group):
            for name, units in side.items():
                assert channels(units) == list(range(len(channels(units)))), name


@each_network
def test_what_must_stay_whole_has_a_reason(known: Known):
    _, result = found(known)
    assert result.refused.keys() == known.refused.keys()
    for name, reason in known.refused.items():
        assert reason in result.refused[name]


@each_removable
@pytest.mark.parametrize("stride", [2, 3])
def test_removing_is_masking(known: Known, stride: int):
    model, result = found(known)
    model, x = model.double(), known.batch(3).double()
    gone = [(group, list(range(0, group.size, stride))) for group in result.groups]
    smaller = removed(model, gone)
    one, other = (drawn(network, x) for network in (smaller, masked(model, gone)))
    torch.testing.assert_close(one, other, **tolerance(torch.float64))
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in model.parameters())


def test_removing_nothing_changes_nothing():
    known = KNOWN["residual"]
    model, result = found(known)
    x = known.batch(3)
    assert torch.equal(removed(model, [(group, []) for group in result.groups])(x), model(x))


@each_network
def test_the_network_is_left_as_it_is(known: Known):
    model = known.network()
    first = next(m for m in model.modules() if not list(m.children()))
    first.train()
    next(first.parameters()).requires_grad_(False)
    first.register_forward_hook(lambda module, args, output: None)
    x, before = known.batch(), state_of(model)
    coupling(model, x)
    assert state_of(model) == before


@pytest.mark.parametrize("name", ["stem", "outer", "inner"])
def test_a_group_of_a_layer_that_stays_dense_stays_whole(name: str):
    known = KNOWN["residual"]
    result = coupling(known.network(), known.batch(), dense=[name])
    whole = {group for group, sizes in known.groups.items() if name in members(sizes)}
    assert result.refused == dict.fromkeys(whole, f"{name} stays dense")
    assert {group.name for group in result.groups} == known.groups.keys() - whole


def doubled(module: nn.Module) -> None:
    module.register_forward_hook(lambda module, args, output: output * 2)


def tied(module: nn.Module) -> None:
    module[2].weight = module[4].weight


@pytest.mark.parametrize(
    ("change", "left"),
    [(lambda m: doubled(m[0]), {"2", "4"}), (lambda m: doubled(m[2]), {"4"}), (tied, set())],
    ids=["first", "second", "tied"],
)
def test_a_layer_that_computes_something_else_keeps_its_channels(change: Callable, left: set[str]):
    model = mlp(8, 6, 6, 6, 4)
    change(model)
    result = curves(model, calibrate(model, [torch.randn(20, 8)]))
    assert {curve.group.name for curve in result.groups} == left
    assert all("stays dense" in reason for reason in result.whole.values())
    assert len(result.whole) + len(left) == 3


def test_one_wrong_group_does_not_condemn_the_others():
    known = KNOWN["padded"]
    both = Side(KNOWN["residual"].network(), known.network())
    result = coupling(both, known.batch())
    names = {group.name for group in result.groups}
    assert names == {"left.inner", "left.outer", "right.conv1"}
    assert result.refused.keys() == {"right.conv2"}


def test_a_norm_keeps_its_mode_statistics_and_settings():
    known = KNOWN["pooled"]
    model, result = found(known)
    model[1].eps, model[1].momentum = 0.5, None
    model[1].weight.requires_grad_(False)
    model[1].train()
    norm = removed(model, [(result.groups[0], [0, 3])])[1]
    assert (norm.eps, norm.momentum, norm.num_features, norm.training) == (0.5, None, 6, True)
    assert (norm.weight.requires_grad, norm.bias.requires_grad) == (False, True)
    for name in ("weight", "bias", "running_mean", "running_var"):
        kept = getattr(model[1], name)[[1, 2, 4, 5, 6, 7]]
        assert torch.equal(getattr(norm, name), kept), name


@dataclass
class Answer:
    """What a network returns: a plain dataclass, which the tracer itself does not open."""

    scores: Tensor


class Answering(nn.Module):
    """Returns a dataclass."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = mlp(5, 8, 3)

    def forward(self, x: Tensor) -> Answer:
        return Answer(self.layers(x))


def test_outputs_in_a_dataclass_are_traced():
    result = coupling(Answering(), torch.randn(1, 5))
    assert [(group.name, group.size) for group in result.groups] == [("layers.0", 8)]


@pytest.mark.parametrize("cached", [True, False])
def test_the_gated_mlp_of_a_language_model_is_a_group(cached: bool):
    """Rotated queries and keys are followed to an end, and the cache in the output is no matter."""
    model = llama(use_cache=cached)
    result = coupling(model, {"input_ids": torch.arange(3, 12)[None]}, seconds=40)
    assert not result.refused.get("channels")
    for layer in ("model.layers.0.mlp", "model.layers.1.mlp"):
        group = next(g for g in result.groups if f"{layer}.down_proj" in g.readers)
        assert set(group.writers) == {f"{layer}.gate_proj", f"{layer}.up_proj"}
        assert group.size == 24
    assert all("self_attn" in name for name in result.refused)


def test_half_precision_is_verified_too():
    known = KNOWN["pooled"]
    model, x = known.network().bfloat16(), known.batch().bfloat16()
    assert [group.name for group in coupling(model, x).groups] == ["0"]
