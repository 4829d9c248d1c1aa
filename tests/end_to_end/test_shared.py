"""Transformers whose projections share a factor: saved, loaded, adapted, compiled and exported."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from eckart import (
    CheckpointError,
    Compressed,
    calibrate,
    compress,
    load,
    load_pretrained,
    merge,
    save,
)
from eckart.layers import Carrying, firsts_shared
from eckart.metrics import Embedding
from tolerances import tolerance
from transformer_networks import bert, llama, qwen, token_ids

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft's
METHODS = ("pivoted_svd", "shared_svd")
MODELS: dict[str, Callable[..., nn.Module]] = {"llama": llama, "qwen": qwen, "bert": bert}


def shared(model: nn.Module, keep: float = 0.5) -> Compressed:
    batch = {"input_ids": token_ids(8, 12)}
    found = compress(model, [batch], keep=keep, of="sites", methods=METHODS, metric=None)
    assert firsts_shared(found.model)
    return found


@pytest.fixture
def smaller() -> nn.Module:
    return shared(llama(tie_word_embeddings=True)).model


@pytest.fixture
def directory(smaller: nn.Module, tmp_path: Path) -> Path:
    save(smaller, tmp_path / "model")
    return tmp_path / "model"


@torch.no_grad()
def outputs(model: nn.Module) -> torch.Tensor:
    return model(input_ids=token_ids(2, 12))[0]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_comes_back_to_the_bit(name: str, dtype: torch.dtype, tmp_path: Path):
    smaller = shared(MODELS[name]()).model.to(dtype)
    save(smaller, tmp_path)
    again = load_pretrained(tmp_path)
    fresh = load(MODELS[name]().to(dtype), tmp_path)
    for loaded in (again, fresh):
        assert firsts_shared(loaded) == firsts_shared(smaller)
        assert {p.dtype for p in loaded.parameters()} == {dtype}
        assert sum(p.numel() for p in loaded.parameters()) == smaller.eckart_plan.costs["params"]
    assert torch.equal(outputs(fresh), outputs(smaller))
    if dtype == torch.float32:  # else rotary frequencies are rounded in one of them
        assert torch.equal(outputs(again), outputs(smaller))


def test_the_file_holds_each_weight_once(smaller: nn.Module, directory: Path):
    size = (directory / "eckart.safetensors").stat().st_size
    stored = sum(t.nbytes for t in [*smaller.parameters(), *smaller.buffers()])
    assert size < stored + 20_000


def test_merged_it_is_read_by_transformers(smaller: nn.Module, tmp_path: Path):
    merge(smaller).save_pretrained(tmp_path)
    plain = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(outputs(plain), outputs(smaller), **tolerance(torch.float32))


def test_it_generates(smaller: nn.Module, directory: Path):
    settings = {"max_new_tokens": 6, "do_sample": False}
    texts = [m.generate(token_ids(1, 5), **settings) for m in (smaller, load_pretrained(directory))]
    assert torch.equal(*texts)


def test_a_copy_shares_by_itself(smaller: nn.Module):
    copied = copy.deepcopy(smaller)
    assert firsts_shared(copied) == firsts_shared(smaller)
    assert not {id(p) for p in copied.parameters()} & {id(p) for p in smaller.parameters()}


def test_an_embedding_weighs_its_tokens_jointly():
    """Where every layer has an A of its own, one of them is in the way of none."""
    model, batch = bert(), {"input_ids": token_ids(8, 12)}
    moments = calibrate(model, [batch], metric=Embedding())
    assert moments.joint_grams
    found = compress(model, moments, keep=0.5, of="sites", methods=METHODS)
    own = compress(model, moments, keep=0.5, of="sites", methods=["pivoted_svd"])
    assert found.plan.loss <= own.plan.loss * (1 + 1e-9)


def test_lora_learns_on_the_second_factors(smaller: nn.Module, tmp_path: Path):
    """The first are one layer: an adapter of it would be one of three layers at once."""
    peft = pytest.importorskip("peft")
    second = [n for n, _ in smaller.named_modules() if n.endswith(("_proj.1.rest", "_proj.1"))]
    targets = [name for name in second if type(smaller.get_submodule(name)) is nn.Linear]
    config = peft.LoraConfig(r=2, target_modules=targets, task_type="CAUSAL_LM")
    model = peft.get_peft_model(copy.deepcopy(smaller), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    trained = outputs(model)
    merged = model.merge_and_unload()
    save(merged, tmp_path)
    assert firsts_shared(merged) == firsts_shared(smaller)
    torch.testing.assert_close(outputs(merged), trained, **tolerance(torch.float32))
    assert torch.equal(outputs(load_pretrained(tmp_path)), outputs(merged))
    assert not torch.allclose(trained, outputs(smaller), **tolerance(torch.float32))


@pytest.mark.parametrize("way", ["compiled", "exported"])
def test_it_is_compiled_and_exported(smaller: nn.Module, way: str):
    inputs = {"input_ids": token_ids(2, 12), "use_cache": False}
    with torch.no_grad():
        if way == "compiled":
            other = torch.compile(smaller, backend="aot_eager", fullgraph=True)
        else:
            other = torch.export.export(smaller, (), inputs, strict=False).module()
        torch.testing.assert_close(
            other(**inputs).logits, outputs(smaller), **tolerance(torch.float32)
        )


def first_with(forms: dict[str, Any], is_shared: bool) -> str:
    return next(n for n, f in forms.items() if isinstance(f, dict) == is_shared and len(f) > 1)


def owner_named(name: object) -> Callable[[dict[str, Any]], None]:
    def change(forms: dict[str, Any]) -> None:
        forms[first_with(forms, True)]["first_of"] = name

    return change


def other_rank(forms: dict[str, Any]) -> None:
    """One that its owner's piece does not have."""
    pieces = forms[first_with(forms, True)]["pieces"]
    pieces[0]["outputs"] = pieces[1]["inputs"] = pieces[0]["outputs"] + 1


def carrying(number: object) -> Callable[[dict[str, Any]], None]:
    def change(forms: dict[str, Any]) -> None:
        forms[first_with(forms, True)]["pieces"][-1]["carries"] = number

    return change


def plain(forms: dict[str, Any]) -> None:
    name = first_with(forms, True)
    forms[name]["pieces"] = forms[name]["pieces"][:1]


def surplus(forms: dict[str, Any]) -> None:
    forms[first_with(forms, True)]["more"] = 1


def by_itself(forms: dict[str, Any]) -> None:
    name = first_with(forms, True)
    forms[name]["first_of"] = name


def apart(forms: dict[str, Any]) -> None:
    """The file has one weight, and the structure asks for two."""
    name = first_with(forms, True)
    forms[name] = forms[name]["pieces"]


HOSTILE = {
    "no layer": owner_named("nobody"),
    "an empty name": owner_named(""),
    "a number": owner_named(3),
    "null": owner_named(None),
    "a plain layer": owner_named("lm_head"),
    "another's": owner_named("model.layers.1.mlp.down_proj"),
    "itself": by_itself,
    "another rank": other_rank,
    "all carried": carrying(10**6),
    "carries a fraction": carrying(0.5),
    "carries less": carrying(0),
    "one piece": plain,
    "surplus field": surplus,
    "apart": apart,
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_structure_is_refused(directory: Path, change: Callable[[dict[str, Any]], None]):
    path = directory / "eckart.json"
    structure = json.loads(path.read_text())
    change(structure["forms"])
    path.write_text(json.dumps(structure))
    fresh = llama(tie_word_embeddings=True)
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    with pytest.raises(CheckpointError):
        load(fresh, directory)
    assert all(torch.equal(value, before[name]) for name, value in fresh.state_dict().items())
    with pytest.raises(CheckpointError):
        load_pretrained(directory)


@pytest.mark.parametrize("wrong", ["twice", "beyond", "negative", "missing"])
def test_a_hostile_order_is_refused(smaller: nn.Module, tmp_path: Path, wrong: str):
    carrying = next(
        m for m in smaller.modules() if type(m) is Carrying and 1 < m.piece.carries < m.piece.inputs
    )
    order = carrying.order
    inputs = (order < carrying.piece.inputs).nonzero().flatten()
    others = (order >= carrying.piece.inputs).nonzero().flatten()
    if wrong == "twice":
        order[inputs[0]] = order[inputs[1]]
    elif wrong == "beyond":
        order[others[0]] = order.max() + 1
    elif wrong == "negative":
        order[inputs[0]] = -1
    else:
        order[others[0]] = order[inputs[0]]
    save(smaller, tmp_path)
    with pytest.raises(CheckpointError, match="no permutation"):
        load_pretrained(tmp_path)
