"""Units of known modules: the width of MLPs and heads of attention, in every family."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import eckart
from eckart.network import channel_groups
from eckart.network.channel_groups import Coupling, coupling
from eckart.network.removal import without_units
from eckart.network.twins import opened
from eckart.network.units import counts_after
from eckart.records import ChannelGroup
from eckart.running.tokens import fewer_tokens
from transformer_networks import bert, gemma, gpt2, llama, neox, opt, phi, qwen, t5, token_ids, vit

FAMILIES: dict[str, tuple[Callable[..., nn.Module], int, int]] = {  # heads that go alone, width
    "llama": (llama, 2, 24),
    "qwen": (qwen, 2, 24),
    "gemma": (gemma, 2, 24),
    "gpt2": (gpt2, 2, 64),
    "neox": (neox, 4, 24),
    "opt": (opt, 4, 24),
    "bert": (bert, 4, 24),
    "vit": (vit, 4, 24),
    "phi": (phi, 0, 24),
    "t5": (t5, 0, 24),
}
each_family = pytest.mark.parametrize("name", FAMILIES)
_WRONG = "removing its channels does not give the same outputs as masking them"


def batch(name: str, seed: int = 0) -> dict[str, Tensor]:
    if name == "vit":
        generator = torch.Generator().manual_seed(seed)
        return {"pixel_values": torch.randn(2, 3, 16, 16, generator=generator)}
    ids = token_ids(2, 9, seed=seed)
    return {"input_ids": ids, **({"decoder_input_ids": ids} if name == "t5" else {})}


def found(model: nn.Module, inputs: Any, **more: Any) -> Coupling:
    return coupling(model, inputs, dense={"lm_head"}, **more)


def is_heads(group: ChannelGroup) -> bool:
    return any(len(unit) > 1 for units in group.readers.values() for unit in units)


@each_family
def test_widths_and_heads_are_groups(name: str, monkeypatch: pytest.MonkeyPatch):
    def never(*_: object) -> None:
        raise AssertionError("traced")

    make, heads, width = FAMILIES[name]
    if name not in ("bert", "vit"):  # they have other layers too: poolers, patches
        monkeypatch.setattr(channel_groups, "traced", never)
    result = found(make(), batch(name))
    sizes = [group.size for group in result.groups if is_heads(group)]
    assert sizes == [heads] * 2 * bool(heads)
    blocks = 4 if name == "t5" else 2
    assert [g.size for g in result.groups if not is_heads(g)] == [width] * blocks
    refused = {layer: why for layer, why in result.refused.items() if "att" in layer.lower()}
    assert bool(refused) == (not heads)
    assert set(refused.values()) <= {_WRONG}


@each_family
def test_removing_a_unit_of_each_group_is_masking_it(name: str):
    """By the test's own masking: columns that read the unit are zero."""
    masked = FAMILIES[name][0]().double()
    removed = FAMILIES[name][0]().double()
    groups, inputs = found(masked, batch(name)).groups, batch(name, seed=1)
    if name == "vit":
        inputs = {key: x.double() for key, x in inputs.items()}
    dense = masked(**inputs)[0]
    without_units(removed, [(g, [u for u in range(g.size) if u != 1]) for g in groups])
    with torch.no_grad():
        for group in groups:
            for reader in group.readers:
                layer = masked.get_submodule(reader)
                columns = layer.weight.T if name != "gpt2" else layer.weight
                columns[group.columns(reader, [1])] = 0
        expected, result = masked(**inputs)[0], removed(**inputs)[0]
    assert torch.allclose(result, expected, rtol=1e-10, atol=1e-10)
    assert not torch.allclose(result, dense, rtol=1e-3)


@pytest.mark.parametrize(
    ("make", "layer", "attribute", "before", "after"),
    [
        (opt, "model.decoder.layers.0.self_attn.out_proj", "num_heads", 4, 3),
        (gpt2, "transformer.h.0.attn.c_proj", "split_size", 16, 8),
    ],
)
def test_attention_counts_the_heads_that_are_left(
    make: Callable[..., nn.Module], layer: str, attribute: str, before: int, after: int
):
    model = make()
    groups = found(model, {"input_ids": token_ids(1, 5)}).groups
    holder = model.get_submodule(layer.rpartition(".")[0])
    assert getattr(holder, attribute) == before  # verifying has put it back
    group = next(group for group in groups if layer in group.readers)
    without_units(model, [(group, range(group.size - 1))])
    assert getattr(holder, attribute) == after


def test_only_whole_heads_change_a_count():
    layer = "model.decoder.layers.0.self_attn.out_proj"
    assert counts_after(opt(), layer, 8)["num_heads"] == 2
    assert counts_after(opt(), layer, 6) == counts_after(opt(), layer, 16) == {}
    assert counts_after(opt(), "model.decoder.layers.0.fc2", 12) == {}


def test_a_single_head_of_keys_stays():
    result = found(llama(num_key_value_heads=1), {"input_ids": token_ids(1, 5)})
    whys = {why for name, why in result.refused.items() if "self_attn" in name}
    assert whys == {"all of it is one unit, which stays"}
    assert not any(is_heads(group) for group in result.groups)


class Interleaved(nn.Module):
    """One layer writes gate and up in turns."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.down = nn.Linear(6, 20), nn.Linear(10, 6)

    def forward(self, x: Tensor) -> Tensor:
        both = self.both(x)
        return self.down(both[..., ::2].sigmoid() * both[..., 1::2])


class Named(nn.Module):
    """A network that a tracer does not run on, around an inner one."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.inner(x)


def test_gate_and_up_in_turns_are_found():
    (group,) = coupling(Named(Interleaved()), torch.randn(2, 6)).groups
    assert group.writers == {"inner.both": tuple((2 * j, 2 * j + 1) for j in range(10))}
    assert group.readers == {"inner.down": tuple((j,) for j in range(10))}


class Peeking(nn.Module):
    """What is between the two layers of the MLP is an output as well."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 10), nn.Linear(10, 6)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        inner = self.up(x).relu()
        return self.down(inner), inner


def test_a_wrong_guess_is_no_group():
    assert coupling(Named(Peeking()), torch.randn(2, 6)).groups == ()


@pytest.mark.parametrize("norm_first", [True, False])
def test_heads_of_torch_s_own_encoder_are_found(norm_first: bool):
    layer = nn.TransformerEncoderLayer(12, 3, 20, batch_first=True, norm_first=norm_first)
    model = opened(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval())
    groups = coupling(model, torch.randn(2, 5, 12)).groups
    assert sorted(group.size for group in groups) == [3, 3, 20, 20]


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt", "neox"])
def test_what_lost_heads_is_saved_and_generates(name: str, tmp_path: Path):
    model, inputs = FAMILIES[name][0](), batch(name, seed=9)
    moments = eckart.calibrate(model, [batch(name, seed=s) for s in range(3)], progress=False)
    options = eckart.curves(model, moments, methods=["backward_elimination"], progress=False)
    plan = eckart.allocate(options, eckart.Budget(params=0.5, of="sites"))
    lost = [len(r.removed) for r in plan.removals.values() if is_heads(r.group)]
    assert any(lost)
    smaller = eckart.apply(model, plan, moments)
    eckart.save(smaller, tmp_path)
    again = eckart.load_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(again(**inputs)[0], smaller(**inputs)[0])
    prompt = {"input_ids": inputs["input_ids"][:1, :4], "max_new_tokens": 6}
    runs = [again.generate(**prompt, do_sample=False, use_cache=c) for c in (True, False)]
    assert torch.equal(*runs)


def test_a_multiple_counts_channels_of_heads():
    model, inputs = llama(), batch("llama")
    moments = eckart.calibrate(model, [inputs, batch("llama", 1)], progress=False)
    curves = {
        multiple: eckart.curves(
            model, moments, methods=["backward_elimination"], multiple=multiple, progress=False
        )
        for multiple in (4, 8)
    }
    sizes = {k: [c.sizes for c in found.groups if is_heads(c.group)] for k, found in curves.items()}
    assert sizes == {4: [[1, 2]] * 2, 8: [[2]] * 2}  # a head of keys has 4 channels


def test_long_runs_of_tokens_are_cut():
    ids = token_ids(2, 100)
    assert torch.equal(fewer_tokens({"input_ids": ids}, 64)["input_ids"], ids[:, :64])
    padded = {"input_ids": ids, "attention_mask": (ids > 20).long()}
    assert fewer_tokens(padded, 64) is padded
    embedded = {"input_ids": ids, "other": torch.zeros(2, 3)}
    assert fewer_tokens(embedded, 64) is embedded
