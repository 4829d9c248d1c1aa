"""Models of transformers: saved, loaded in one line, merged, adapted, compiled and exported."""

import copy
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from eckart import Budget, compress, factorize, load, load_pretrained, merge, save
from eckart.errors import CheckpointError, InputError
from eckart.layers import Factored, FewBits
from eckart.methods import DEFAULT_METHODS
from resealed import weights_in, with_structure, with_weights
from tolerances import tolerance
from transformer_networks import CAUSAL, bert, llama, token_ids

transformers = pytest.importorskip("transformers")


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


@pytest.fixture(scope="module")
def smaller() -> nn.Module:
    """A Llama with tied embeddings and grouped queries, compressed from one batch."""
    model = llama(tie_word_embeddings=True)
    batches, methods = [{"input_ids": token_ids(2, 12)}], ["pivoted_svd"]
    return compress(model, batches, keep=0.7, of="sites", methods=methods).model


@pytest.fixture
def directory(smaller: nn.Module, tmp_path: Path) -> Path:
    save(smaller, tmp_path / "model")
    return tmp_path / "model"


def outputs(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=token_ids(2, 12))[0]


def buffers(model: nn.Module) -> dict[str, torch.Tensor]:
    return dict(model.named_buffers())


@pytest.mark.parametrize("name", ["bert", *CAUSAL])
def test_every_architecture_comes_back_to_the_bit(name: str, tmp_path: Path):
    model = factorize({"bert": bert, **CAUSAL}[name](), rank=6)
    save(model, tmp_path)
    again = load_pretrained(tmp_path)
    assert type(again) is type(model)
    assert any(type(module) is Factored for module in again.modules())
    assert not again.training
    assert torch.equal(outputs(again), outputs(model))
    assert buffers(again).keys() == buffers(model).keys()
    assert all(torch.equal(b, buffers(again)[key]) for key, b in buffers(model).items())


def test_a_compressed_model_comes_back(smaller, directory: Path):
    again = load_pretrained(directory)
    assert torch.equal(outputs(again), outputs(smaller))
    assert again.eckart_plan == smaller.eckart_plan
    assert again.lm_head.weight is again.model.embed_tokens.weight
    assert sorted(path.name for path in directory.iterdir()) == [
        "README.md",
        "config.json",
        "eckart.json",
        "generation_config.json",
        weights_in(directory).name,
    ]


def test_it_generates_with_and_without_a_cache(smaller, directory: Path):
    smaller = copy.deepcopy(smaller)
    smaller.generation_config.update(do_sample=True, top_k=7)
    save(smaller, directory)
    again = load_pretrained(directory)
    assert again.generation_config.top_k == 7
    settings = {"max_new_tokens": 20, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    cached, plain, before = (
        model.generate(token_ids(1, 5), use_cache=use_cache, **settings)
        for model, use_cache in ((again, True), (again, False), (smaller, True))
    )
    assert cached.shape == (1, 25)
    assert torch.equal(cached, plain)
    assert torch.equal(cached, before)


def test_precision_is_kept_or_asked_for(tmp_path: Path):
    llama().save_pretrained(tmp_path)
    rough = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    model = factorize(rough, rank=6)
    model.model.norm.float()
    save(model, tmp_path)
    again = load_pretrained(tmp_path)
    assert {n: p.dtype for n, p in again.named_parameters()} == {
        n: p.dtype for n, p in model.named_parameters()
    }
    model.model.norm.bfloat16()
    rough = load_pretrained(tmp_path, dtype=torch.bfloat16)
    assert torch.equal(outputs(rough), outputs(model))
    exact = load_pretrained(tmp_path, dtype=torch.float32, device="cpu")
    assert {p.dtype for p in exact.parameters()} == {torch.float32}
    assert torch.equal(
        exact.model.layers[0].mlp.up_proj[0].weight.bfloat16(),
        model.model.layers[0].mlp.up_proj[0].weight,
    )


@pytest.mark.parametrize("dequantize", [False, True])
def test_codes_come_back_in_another_precision(tmp_path: Path, dequantize: bool):
    model = llama(tie_word_embeddings=True)
    batch = {"input_ids": token_ids(2, 12)}
    coded = compress(model, [batch], budget=Budget(bytes=0.5), methods=["rounding"]).model
    save(coded, tmp_path)
    again = load_pretrained(tmp_path, dtype=torch.bfloat16, dequantize=dequantize)
    assert any(type(module) is FewBits for module in again.modules()) is not dequantize
    save(merge(coded), tmp_path / "plain")
    plain = load_pretrained(tmp_path / "plain", dtype=torch.bfloat16)
    assert torch.equal(outputs(again), outputs(plain))
    save(again, tmp_path / "half")
    assert torch.equal(outputs(load_pretrained(tmp_path / "half")), outputs(again))


def test_nothing_is_drawn_at_random(directory: Path):
    before = torch.get_rng_state()
    load_pretrained(directory)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_fresh_model_is_filled_too(smaller, directory: Path):
    assert torch.equal(outputs(load(llama(tie_word_embeddings=True), directory)), outputs(smaller))


# Beside other tools


def test_a_merged_model_is_read_by_transformers(smaller, tmp_path: Path):
    dense = merge(smaller)
    dense.save_pretrained(tmp_path / "by_transformers")
    save(dense, tmp_path / "by_eckart")
    for name in ("by_transformers", "by_eckart"):
        again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / name)
        torch.testing.assert_close(outputs(again), outputs(smaller), **tolerance(torch.float32))
        assert again.lm_head.weight is again.model.embed_tokens.weight


def test_a_merged_encoder_is_read_by_transformers(tmp_path: Path):
    batches = [{"input_ids": token_ids(2, 12)}]
    smaller = compress(bert(), batches, keep=0.7, of="sites", methods=["pivoted_svd"]).model
    merge(smaller).save_pretrained(tmp_path)
    again = transformers.AutoModel.from_pretrained(tmp_path)
    torch.testing.assert_close(outputs(again), outputs(smaller), **tolerance(torch.float32))


def test_a_narrower_encoder_comes_back_and_transformers_refuses_it(tmp_path: Path):
    batches, methods = [{"input_ids": token_ids(2, 12)}], DEFAULT_METHODS
    smaller = compress(bert(), batches, keep=0.7, of="sites", methods=methods)
    assert smaller.plan.removals
    for name, model in (("smaller", smaller.model), ("merged", merge(smaller.model))):
        save(model, tmp_path / name)
        assert torch.equal(outputs(load_pretrained(tmp_path / name)), outputs(model))
        with pytest.raises((OSError, RuntimeError), match=r"no file named|mismatched_sizes"):
            transformers.AutoModel.from_pretrained(tmp_path / name)


def test_transformers_does_not_read_factors_in_silence(directory: Path):
    with pytest.raises(OSError, match=r"no file named model\.safetensors"):
        transformers.AutoModelForCausalLM.from_pretrained(directory)


def test_saving_a_dense_model_over_a_smaller_one_leaves_nothing_of_it(smaller, directory: Path):
    first, index = weights_in(directory).name, directory / "model.safetensors.index.json"
    save(merge(smaller), directory)
    assert weights_in(directory).name != first
    assert set(json.loads(index.read_text())["weight_map"].values()) == {weights_in(directory).name}
    save(smaller, directory)
    assert weights_in(directory).name == first
    assert not index.exists()


def test_the_tokenizer_goes_along(data_root: Path, smaller, tmp_path: Path):
    source = data_root / "stories260k"
    story = transformers.AutoModelForCausalLM.from_pretrained(source)
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    save(factorize(story, rank=8), tmp_path / "copied")
    save(smaller, tmp_path / "given", tokenizer)
    for name in ("copied", "given"):
        again = transformers.AutoTokenizer.from_pretrained(tmp_path / name)
        assert again("Once upon a time")["input_ids"] == tokenizer("Once upon a time")["input_ids"]


# Refusals


def refused(directory: Path, match: str) -> None:
    with pytest.raises(CheckpointError, match=match):
        load_pretrained(directory)


@pytest.mark.parametrize("name", ["eckart.json", "weights"])
@pytest.mark.parametrize("fraction", [None, 0.0, 0.5, 0.99])
def test_missing_and_truncated_files(directory: Path, name: str, fraction: float | None):
    path = weights_in(directory) if name == "weights" else directory / name
    content = path.read_bytes()
    path.unlink()
    if fraction is not None:
        path.write_bytes(content[: int(fraction * len(content))])
    refused(directory, path.name)


@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
@pytest.mark.parametrize("content", [None, "", "[" * 100_000, '{"model_type": "bert"}'])
def test_what_lies_beside_for_others_is_not_read(
    smaller, directory: Path, name: str, content: str | None
):
    (directory / name).unlink()
    if content is not None:
        (directory / name).write_text(content)
    assert torch.equal(outputs(load_pretrained(directory)), outputs(smaller))


def changed(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda config: {**config, **changes}


HOSTILE = {
    "a list": lambda config: [],
    "empty": lambda config: {},
    "another model": changed(model_type="bert"),
    "unknown model": changed(model_type="../../etc/passwd"),
    "another class": changed(architectures=["BertModel"]),
    "a class without weights": changed(architectures=["LlamaConfig"]),
    "no class": changed(architectures=["os"]),
    "a function": changed(architectures=["logging"]),
    "nothing": changed(architectures=None),
    "a number": changed(architectures=[3]),
    "wider": changed(hidden_size=64),
    "vast": changed(hidden_size=2**40),
    "many labels": changed(num_labels=10**7),
    "many experts": changed(num_local_experts=10**7),
    "many layers": changed(num_hidden_layers=10**9),
    "negative": changed(num_hidden_layers=-1),
    "no heads": changed(num_attention_heads=0),
    "width of text": changed(hidden_size="32"),
    "unknown activation": changed(hidden_act="__import__"),
    "untied": changed(tie_word_embeddings=False),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_description(directory: Path, change: Callable[[dict[str, Any]], Any]):
    with_structure(directory, lambda s: {**s, "config": change(s["config"])})
    refused(directory, r"config|no class|does not fit this model|no such layer|the saved layer")


def test_code_beside_the_model_is_not_run(directory: Path, smaller):
    trap = {"AutoConfig": "trap.TrapConfig", "AutoModelForCausalLM": "trap.Trap"}
    (directory / "trap.py").write_text("raise SystemExit('code was run')")
    more = {"auto_map": trap, "attn_implementation": "a/kernel"}
    with_structure(directory, lambda s: {**s, "config": {**s["config"], **more}})
    assert torch.equal(outputs(load_pretrained(directory)), outputs(smaller))
    with_structure(directory, lambda s: {**s, "config": {**s["config"], "model_type": "trap"}})
    refused(directory, "cannot read")


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/etc/passwd", None, ["x"], "weights-0123456789abcdef.bin"]
)
def test_a_hostile_name_of_the_weights(directory: Path, name: Any):
    digest = weights_in(directory).stem.removeprefix("weights-")
    for weights in (name, {"file": name, "digest": digest}):
        with_structure(directory, lambda s, weights=weights: {**s, "weights": weights})
        refused(directory, "file of weights")


def test_weights_of_another_network(directory: Path, tmp_path: Path):
    save(llama(), tmp_path / "other")
    other = weights_in(tmp_path / "other")
    shutil.copyfile(other, weights_in(directory))
    refused(directory, "does not hold the weights")


def test_a_hostile_generation_config(directory: Path):
    with_structure(directory, lambda s: {**s, "generation_config": ["top_k"]})
    refused(directory, "no network can be made")


def test_weights_that_do_not_fit(directory: Path):
    with_weights(directory, lambda tensors: {**tensors, "model.norm.weight": torch.zeros(31)})
    refused(directory, r"does not fit this model: 'model\.norm\.weight'")
    with_weights(directory, lambda tensors: {})
    refused(directory, "holds no weights")


def test_what_transformers_wrote_is_left_to_it(tmp_path: Path):
    llama().save_pretrained(tmp_path)
    refused(tmp_path, "eckart did not write it; load it with AutoModelForCausalLM")


def test_another_network_is_left_to_load(tmp_path: Path):
    save(nn.Sequential(nn.Linear(3, 3)), tmp_path)
    refused(tmp_path, r"not hold a model of transformers: load it with eckart\.load")
    shutil.rmtree(tmp_path)
    refused(tmp_path, r"eckart\.json")


def test_without_transformers(directory: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"pip install 'eckart\[hf\]'"):
        load_pretrained(directory)
