"""Models of transformers of every kind, from batches of dicts to a smaller network."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eckart import Compressed, compress, load, merge, save
from eckart.layers import Factored
from eckart.network.survey import survey
from eckart.network.twins import opened
from transformer_networks import CAUSAL, bart, bert, llama, padded, t5, token_ids

SEQUENCES = [token_ids(length, seed=length) for length in (9, 7, 5, 8, 6, 4)]
MODELS: dict[str, Callable[..., nn.Module]] = {**CAUSAL, "bert": bert, "t5": t5, "bart": bart}
ONE_METHOD, DEFAULT = ["weighted_svd"], ["weighted_svd", "spatial", "backward_elimination"]


def batch(name: str) -> dict[str, Tensor]:
    made = padded(SEQUENCES)
    return {**made, "labels": token_ids(6, 5)} if name in ("t5", "bart") else made


def compressed(name: str, methods: list[str]) -> tuple[nn.Module, Compressed]:
    model = MODELS[name]()
    return model, compress(model, [batch(name)], keep=0.7, of="sites", methods=methods)


@pytest.mark.parametrize("name", MODELS)
def test_the_budget_is_met_and_every_layer_accounted_for(name: str, tmp_path):
    model, smaller = compressed(name, DEFAULT)
    plan, sites = smaller.plan, smaller.curves.specs
    whole, cut = opened(model), opened(smaller.model)
    dense = sum(whole.get_submodule(site).weight.numel() for site in sites)
    left = sum(p.numel() for s in sites for p in cut.get_submodule(s).parameters() if p.dim() > 1)
    assert left <= 0.7 * dense
    matrices = {n for n, m in whole.named_modules() for p in m._parameters.values() if _wide(p)}
    assert matrices == set(plan.choices) | set(plan.dense)
    assert not set(plan.choices) & set(plan.dense)
    save(smaller.model, tmp_path)
    with torch.no_grad():
        outputs, again, dense_again = (
            _first(network(**batch(name)))
            for network in (smaller.model, load(MODELS[name](), tmp_path), merge(smaller.model))
        )
    assert torch.equal(outputs, again)
    torch.testing.assert_close(dense_again, outputs, rtol=1e-3, atol=1e-3)


def _wide(parameter: nn.Parameter | None) -> bool:
    return parameter is not None and parameter.dim() >= 2


def _first(outputs: Any) -> Tensor:
    return outputs.logits if "logits" in outputs else outputs.last_hidden_state


def test_the_head_is_left_alone_unless_it_is_named():
    model, given = llama(), [padded(SEQUENCES)]
    moments = compress(model, given, keep=0.9).moments
    assert "to include it, name it in layers=" in moments.skipped["lm_head"]
    assert "lm_head" in survey(model, "*")[0]
    assert set(survey(model, ["lm_head"])[0]) == {"lm_head"}
    assert survey(model, ["model.*"])[1]["lm_head"] == "not among layers="


def test_a_tied_head_says_so():
    assert "shared with another layer" in survey(llama(tie_word_embeddings=True), "*")[1]["lm_head"]


def test_routers_are_listed_with_the_reason():
    _, smaller = compressed("experts", ONE_METHOD)
    assert "no layer type" in smaller.plan.dense["model.layers.0.mlp.gate"]
    assert "4 experts" in smaller.plan.notes["model.layers.0.mlp.experts"]


class Experts(nn.Module):
    """Two experts, of which the second is asked for tokens that never come."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.head = nn.Embedding(40, 16), nn.Linear(16, 40)
        self.experts = nn.ModuleList([nn.Linear(16, 16), nn.Linear(16, 16)])

    def forward(self, input_ids: Tensor) -> Tensor:
        hidden = self.words(input_ids)
        common = input_ids < 100
        mixed = torch.zeros_like(hidden)
        mixed[common] = self.experts[0](hidden[common])
        if not common.all():
            mixed[~common] = self.experts[1](hidden[~common])
        return self.head(torch.tanh(mixed))


def test_an_expert_that_is_never_called_stays_dense():
    given = [{"input_ids": token_ids(8, 9)}]
    smaller = compress(Experts(), given, keep=0.7, of="sites", metric="next_token")
    assert smaller.plan.dense["experts.1"] == "never called in calibration"
    assert smaller.moments.rows["experts.0"] == 72


def test_widths_of_gated_layers_and_heads_are_found():
    _, smaller = compressed("llama", DEFAULT)
    found = {curve.group.name: curve.group.size for curve in smaller.curves.groups}
    for name in ("model.layers.0", "model.layers.1"):
        assert found.pop(f"{name}.mlp.gate_proj") == 24
        assert found.pop(f"{name}.self_attn.q_proj") == 2
    assert not found
    assert not smaller.curves.whole


def test_a_compressed_model_still_generates():
    _, smaller = compressed("llama", DEFAULT)
    assert any(type(m) is Factored for m in smaller.model.modules())
    prompt = token_ids(2, 5)
    arguments = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": -1}
    mask = torch.ones_like(prompt)
    cached, plain = (
        smaller.model.generate(prompt, attention_mask=mask, use_cache=use_cache, **arguments)
        for use_cache in (True, False)
    )
    assert torch.equal(cached, plain)
    assert cached.shape == (2, 11)
