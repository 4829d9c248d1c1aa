"""Folders that transformers reads without eckart: packed codes, narrower widths, refusals."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from eckart import Budget, compress, save
from eckart.checkpoint.packing import in_words, packed_layers
from eckart.errors import InputError, WriteError
from eckart.layers import Factored, FewBits, piece_of
from eckart.storage.reading import read_json
from transformer_networks import experts, llama, token_ids

FORMAT = "compressed-tensors"
FRESH = """
import sys, torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1]).eval()
ids = torch.arange(1, 13).reshape(2, 6)
with torch.no_grad():
    logits = model(input_ids=ids).logits
words = model.generate(ids[:1], max_new_tokens=4, min_new_tokens=4, do_sample=False)
assert words.shape == (1, 10) and "eckart" not in sys.modules
save_file({"logits": logits.contiguous()}, sys.argv[2])
"""


def read_alone(folder: Path) -> Tensor:
    """The logits of the network in a folder, by transformers in a process of its own."""
    out = folder / "logits.safetensors"
    words = [sys.executable, "-c", FRESH, str(folder), str(out)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return load_file(out)["logits"]


def logits_of(model: nn.Module) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(input_ids=torch.arange(1, 13).reshape(2, 6)).logits
    return logits


@pytest.fixture(scope="module")
def coded() -> nn.Module:
    """A Llama in codes of several widths; its table is in codes too."""
    pytest.importorskip("transformers")
    model, data = llama(hidden_size=32), [{"input_ids": token_ids(8, 20, seed=at)} for at in (1, 2)]
    budget = Budget(bytes=0.2)
    return compress(model, data, budget=budget, methods=["rounding"], latency=False).model


def weight_in(tensors: Mapping[str, Tensor], layer: str, bits: int) -> Tensor:
    """A packed weight, number by number."""
    words, scale = tensors[f"{layer}.weight_packed"], tensors[f"{layer}.weight_scale"]
    outputs, inputs = tensors[f"{layer}.weight_shape"].tolist()
    found = torch.zeros(outputs, inputs)
    for column in range(inputs):
        word, place = divmod(column * bits, 32)
        raised = (words[:, word].long() >> place) & ((1 << bits) - 1)
        group = column * scale.shape[1] // inputs
        found[:, column] = (raised - (1 << (bits - 1))) * scale[:, group]
    return found


def test_packed_weights_are_those_of_the_network(coded: nn.Module, tmp_path: Path):
    save(coded, tmp_path, format=FORMAT)
    tensors, config = load_file(tmp_path / "model.safetensors"), read_json(tmp_path / "config.json")
    groups = config["quantization_config"]["config_groups"].values()
    widths = {name: g["weights"]["num_bits"] for g in groups for name in g["targets"]}
    chains = {n: m for n, m in coded.named_modules() if type(m) is Factored}
    linear = {n: m for n, m in chains.items() if not m.form.pieces[0].table}
    assert set(widths) == set(linear)
    assert len({m.form.bits for m in chains.values()}) > 1
    for name, chain in chains.items():
        if name in widths:
            found = weight_in(tensors, name, widths[name])
        else:
            found = tensors[f"{name}.weight"]
        assert torch.equal(found, chain[0].weight)


def test_transformers_reads_codes_alone(coded: nn.Module, tmp_path: Path):
    if find_spec("compressed_tensors") is None:
        pytest.skip("compressed-tensors is not installed")
    save(coded, tmp_path, format=FORMAT)
    torch.testing.assert_close(read_alone(tmp_path), logits_of(coded), rtol=1e-5, atol=1e-5)


def test_two_bits_are_kept_in_four():
    layer = nn.Linear(8, 3)
    coded = FewBits(layer, replace(piece_of(layer), bits=2), layer.weight)
    coded.codes.copy_(torch.tensor([27, 228, 57, 78, 147, 198]))  # every code there is
    coded.scale.fill_(0.5)
    (found,) = packed_layers(nn.Sequential(Factored(coded)), torch.float32).values()
    assert (found.bits, found.group) == (4, -1)
    assert torch.equal(weight_in(found.tensors("x"), "x", 4), coded.weight)
    assert len(coded.weight.unique()) == 4


@pytest.mark.parametrize("bits", [4, 8])
def test_words_hold_every_number(bits: int):
    numbers = torch.arange(-(1 << (bits - 1)), 1 << (bits - 1)).repeat(2, 1)[:, :13]
    words = in_words(numbers, bits)
    assert words.shape == (2, -(-13 * bits // 32))
    tensors = {
        "x.weight_packed": words,
        "x.weight_scale": torch.ones(2, 1),
        "x.weight_shape": torch.tensor([2, 13]),
    }
    assert torch.equal(weight_in(tensors, "x", bits), numbers.float())


def narrowed(model: nn.Module, *widths: int) -> nn.Module:
    """The same with other widths of its MLPs."""
    for block, width in zip(model.model.layers, widths, strict=True):
        for name in ("gate_proj", "up_proj"):
            old = getattr(block.mlp, name)
            setattr(block.mlp, name, nn.Linear(old.in_features, width, bias=False))
        block.mlp.down_proj = nn.Linear(width, block.mlp.down_proj.out_features, bias=False)
    return model.eval()


def test_one_narrower_width_is_said_by_the_configuration(tmp_path: Path):
    pytest.importorskip("transformers")
    model = narrowed(llama(), 20, 20)
    save(model, tmp_path, format=FORMAT)
    config = read_json(tmp_path / "config.json")
    assert config["intermediate_size"] == 20
    assert "quantization_config" not in config
    assert torch.equal(read_alone(tmp_path), logits_of(model))


def test_what_no_configuration_can_say_is_refused(tmp_path: Path):
    pytest.importorskip("transformers")
    data = [{"input_ids": token_ids(4, 12)}]
    with pytest.raises(InputError, match="from_pretrained could not read it"):
        save(narrowed(llama(), 20, 18), tmp_path, format=FORMAT)
    factors = compress(llama(), data, keep=0.8, of="sites", latency=False).model
    with pytest.raises(InputError, match=r"layers are factors .*methods=\['rounding'\]"):
        save(factors, tmp_path, format=FORMAT)
    with pytest.raises(InputError, match="for models of transformers"):
        save(nn.Sequential(nn.Linear(3, 3)), tmp_path, format=FORMAT)
    with pytest.raises(InputError, match="unknown format 'gguf'; known: eckart, compressed"):
        save(llama(), tmp_path, format="gguf")
    assert not list(tmp_path.iterdir())
    save(llama(), tmp_path)
    with pytest.raises(WriteError, match="give another folder"):
        save(llama(), tmp_path, format=FORMAT)


def test_experts_in_codes_are_written_as_numbers(tmp_path: Path):
    pytest.importorskip("transformers")
    model, data = experts(), [{"input_ids": token_ids(8, 20, seed=1)}]
    budget = Budget(bytes=0.4)
    smaller = compress(model, data, budget=budget, methods=["rounding"], latency=False).model
    save(smaller, tmp_path, format=FORMAT)
    found = load_file(tmp_path / "model.safetensors")
    assert found["model.layers.0.mlp.experts.down_proj"].shape == (4, 16, 12)
