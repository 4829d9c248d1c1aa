"""GPT-2: its layers keep their weights transposed, and get them back so."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from eckart import Compressed, calibrate, compress, load, merge, save
from eckart.layers import Carrying, Factored, TransposedType, rebuild, type_of, weight_of
from eckart.methods import low_rank_form
from tolerances import tolerance
from transformer_networks import gpt2, token_ids

BATCHES = [{"input_ids": token_ids(16, 12)}]
CLOSE = tolerance(torch.float32)


@pytest.fixture(scope="module")
def smaller() -> Compressed:
    return compress(gpt2(), BATCHES, keep=0.5, of="sites", methods=["pivoted_svd"])


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(**BATCHES[0]).logits


def test_moments_are_those_of_a_linear_layer():
    """In the place of every layer the same one, stored the other way round."""
    model, twin = gpt2(), gpt2()
    for name, module in list(twin.named_modules()):
        if type(type_of(module)) is TransposedType:
            linear = nn.Linear(module.nx, module.nf)
            linear.load_state_dict({"weight": module.weight.mT, "bias": module.bias})
            twin.set_submodule(name, linear)
    found, expected = (calibrate(network, BATCHES) for network in (model, twin))
    assert found.specs.keys() == expected.specs.keys()
    assert len(found.specs) == 9  # with the table of positions
    for name in found.specs:
        torch.testing.assert_close(found.a(name), expected.a(name), **CLOSE)
        torch.testing.assert_close(found.g(name), expected.g(name), **CLOSE)


def test_the_factors_are_linear_and_pivoted_layers_within_the_budget(smaller: Compressed):
    factored = [m for m in smaller.model.modules() if type(m) is Factored]
    kinds = {type(layer) for module in factored for layer in module}
    assert {nn.Linear, Carrying} <= kinds <= {nn.Linear, nn.Embedding, Carrying}
    sites = list(smaller.moments.specs)
    dense = sum(gpt2().get_submodule(name).weight.numel() for name in sites)
    left = [smaller.model.get_submodule(name) for name in sites]
    kept = sum(p.numel() for module in left for p in module.parameters() if p.dim() == 2)
    assert kept <= 0.5 * dense


def test_merging_gives_the_class_back(smaller: Compressed):
    merged, dense = merge(smaller.model), gpt2()
    assert merged.state_dict().keys() == dense.state_dict().keys()
    for (name, found), module in zip(merged.named_modules(), dense.modules(), strict=True):
        assert type(found) is type(module), name
    torch.testing.assert_close(logits(merged), logits(smaller.model), rtol=1e-4, atol=1e-4)


def test_a_merged_network_is_read_by_from_pretrained(smaller: Compressed, tmp_path: Path):
    merged = merge(smaller.model)
    merged.save_pretrained(tmp_path)
    assert torch.equal(logits(type(merged).from_pretrained(tmp_path)), logits(merged))


def test_a_saved_network_comes_back_and_merges_alike(smaller: Compressed, tmp_path: Path):
    save(smaller.model, tmp_path)
    loaded = load(gpt2(), tmp_path)
    assert torch.equal(logits(loaded), logits(smaller.model))
    assert merge(loaded).state_dict().keys() == gpt2().state_dict().keys()
    assert torch.equal(logits(merge(loaded)), logits(merge(smaller.model)))
    assert torch.equal(logits(merge(copy.deepcopy(loaded))), logits(merge(loaded)))


@pytest.mark.parametrize("trained", [True, False])
def test_full_rank_gives_the_layer_back(trained: bool):
    layer = gpt2().transformer.h[0].mlp.c_fc.double().requires_grad_(trained)
    u, s, vh = torch.linalg.svd(weight_of(layer).detach(), full_matrices=False)
    form = low_rank_form(type_of(layer).piece(layer), len(s))
    with torch.no_grad():
        built = rebuild(layer, form, [vh, u * s])
    assert all(p.requires_grad is trained for p in built.parameters())
    merged = built.merge()
    assert type(merged) is type(layer)
    torch.testing.assert_close(merged.weight, layer.weight, **tolerance(torch.float64))
    assert torch.equal(merged.bias, layer.bias)
    x = torch.randn(3, 4, layer.nx, dtype=torch.float64)
    torch.testing.assert_close(built(x), layer(x), **tolerance(torch.float64))


def test_the_class_is_unknown_until_somebody_imports_it(monkeypatch: pytest.MonkeyPatch):
    layer = gpt2().transformer.h[0].mlp.c_fc
    assert type_of(layer).name == "transposed"
    monkeypatch.delitem(sys.modules, "transformers.pytorch_utils")
    assert type_of(layer) is None
