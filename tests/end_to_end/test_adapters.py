"""What others do with a factored language model: adapt, compile and export it."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from eckart import compress, factorize, load_pretrained, save
from eckart.errors import InputError
from eckart.layers import Carrying, Factored
from tolerances import tolerance
from transformer_networks import llama, token_ids

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft's
FACTORS = r".*\.(q|k|v|o|gate|up|down)_proj\.[01]"  # the inner layers, as peft takes them


@pytest.fixture
def story(data_root: Path) -> nn.Module:
    """A trained language model whose projections are factored."""
    dense = transformers.AutoModelForCausalLM.from_pretrained(data_root / "stories260k")
    return factorize(dense.eval(), rank=24)


def adapted(model: nn.Module, targets: object) -> nn.Module:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, target_modules=targets, task_type="CAUSAL_LM")
    return peft.get_peft_model(copy.deepcopy(model), config)


def factor_names(model: nn.Module) -> set[str]:
    found = {name: m for name, m in model.named_modules() if type(m) is Factored}
    return {f"{name}.{index}" for name, m in found.items() for index in range(len(m))}


def test_lora_trains_on_the_factors(story: nn.Module, tmp_path: Path):
    ids = token_ids(2, 16)
    model = adapted(story, FACTORS)
    wrapped = {
        n.removeprefix("base_model.model.")
        for n, m in model.named_modules()
        if hasattr(m, "lora_A")
    }
    assert wrapped == factor_names(story)
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        assert all((p.grad is not None) == ("lora_" in n) for n, p in model.named_parameters())
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[1] < losses[0]
    model.eval()
    with torch.no_grad():
        trained, before = model(input_ids=ids).logits, story(input_ids=ids).logits
    with pytest.raises(InputError, match="merge the adapters into the weights first"):
        save(model.base_model.model, tmp_path)
    merged = model.merge_and_unload()
    save(merged, tmp_path)
    with torch.no_grad():
        after = load_pretrained(tmp_path)(input_ids=ids).logits
        assert torch.equal(after, merged(input_ids=ids).logits)
    torch.testing.assert_close(after, trained, **tolerance(torch.float32))
    assert not torch.allclose(after, before, **tolerance(torch.float32))


def test_lora_finds_the_factors_by_itself(story: nn.Module):
    model = adapted(story, "all-linear")
    wrapped = {
        n.removeprefix("base_model.model.")
        for n, m in model.named_modules()
        if hasattr(m, "lora_A")
    }
    assert wrapped >= factor_names(story)


def test_lora_learns_where_channels_are_carried(tmp_path: Path):
    batch = {"input_ids": token_ids(4, 16)}
    smaller = compress(llama(), [batch], keep=0.8, of="sites", methods=["pivoted_svd"]).model
    assert any(type(module) is Carrying for module in smaller.modules())
    model = adapted(smaller, "all-linear")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
        trained = model(**batch).logits
    with pytest.raises(InputError, match="merge the adapters"):
        save(model.base_model.model, tmp_path)
    save(model.merge_and_unload(), tmp_path)
    with torch.no_grad():
        after = load_pretrained(tmp_path)(**batch).logits
        assert not torch.allclose(after, smaller(**batch).logits, **tolerance(torch.float32))
    torch.testing.assert_close(after, trained, **tolerance(torch.float32))


def test_compiled_it_gives_the_same():
    model, ids = factorize(llama(), rank=6), token_ids(2, 12)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(
            compiled(input_ids=ids, use_cache=False).logits,
            model(input_ids=ids).logits,
            **tolerance(torch.float32),
        )


def test_exported_it_gives_the_same():
    model, ids = factorize(llama(), rank=6), token_ids(2, 12)
    with torch.no_grad():
        inputs = {"input_ids": ids, "use_cache": False}
        exported = torch.export.export(model, (), inputs, strict=False)
        torch.testing.assert_close(
            exported.module()(**inputs).logits,
            model(input_ids=ids).logits,
            **tolerance(torch.float32),
        )
