"""Tiny transformers of every kind, randomly initialised."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

WORDS, WIDTH, PAD = 40, 16, 0


def _made(model: str, config: str, **arguments: Any) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    made = getattr(transformers, model)(getattr(transformers, config)(**arguments)).eval()
    with torch.no_grad():
        for parameter in made.parameters():  # the usual ones are too small to matter
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made


_SPECIAL = {"pad_token_id": PAD, "bos_token_id": 1, "eos_token_id": 2}
_DECODER = {
    "vocab_size": WORDS,
    "hidden_size": WIDTH,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    **_SPECIAL,
}
_ENCODER = {k: v for k, v in _DECODER.items() if k != "num_key_value_heads"}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 12}


def llama(**more: Any) -> nn.Module:
    return _made("LlamaForCausalLM", "LlamaConfig", **{**_DECODER, **more})


def qwen(**more: Any) -> nn.Module:
    """With biases at q, k and v."""
    return _made("Qwen2ForCausalLM", "Qwen2Config", **{**_DECODER, **more})


def experts(**more: Any) -> nn.Module:
    """A mixture whose experts are one parameter of three axes."""
    return _made("Qwen3MoeForCausalLM", "Qwen3MoeConfig", **{**_DECODER, **_EXPERTS, **more})


def gpt2(**more: Any) -> nn.Module:
    sizes = {"vocab_size": WORDS, "n_embd": WIDTH, "n_layer": 2, "n_head": 2, "n_positions": 64}
    return _made("GPT2LMHeadModel", "GPT2Config", **{**sizes, **_SPECIAL, **more})


def bert(**more: Any) -> nn.Module:
    return _made("BertModel", "BertConfig", **{**_ENCODER, **more})


def t5(**more: Any) -> nn.Module:
    sizes = {"vocab_size": WORDS, "d_model": WIDTH, "d_kv": 4, "d_ff": 24, "num_layers": 2}
    special = {"num_heads": 4, "pad_token_id": PAD, "decoder_start_token_id": PAD}
    return _made("T5ForConditionalGeneration", "T5Config", **{**sizes, **special, **more})


def bart(**more: Any) -> nn.Module:
    sizes = {"vocab_size": WORDS, "d_model": WIDTH, "max_position_embeddings": 64}
    for side in ("encoder", "decoder"):
        sizes |= {f"{side}_layers": 1, f"{side}_ffn_dim": 24, f"{side}_attention_heads": 4}
    return _made("BartForConditionalGeneration", "BartConfig", **{**sizes, **more})


def gemma(**more: Any) -> nn.Module:
    """With norms of each head, and heads wider than the hidden width has room for."""
    own = {"head_dim": 8, "sliding_window": 8}
    return _made("Gemma3ForCausalLM", "Gemma3TextConfig", **{**_DECODER, **own, **more})


def phi(**more: Any) -> nn.Module:
    """With one layer for gate and up, and one for queries, keys and values."""
    return _made("Phi3ForCausalLM", "Phi3Config", **{**_DECODER, **more})


def neox(**more: Any) -> nn.Module:
    """With one layer that writes query, key and value head after head."""
    return _made("GPTNeoXForCausalLM", "GPTNeoXConfig", **{**_ENCODER, **more})


def opt(**more: Any) -> nn.Module:
    """Whose attention counts its heads."""
    sizes = {"vocab_size": WORDS, "hidden_size": WIDTH, "ffn_dim": 24, "num_hidden_layers": 2}
    more = {"num_attention_heads": 4, "max_position_embeddings": 64, **_SPECIAL, **more}
    return _made("OPTForCausalLM", "OPTConfig", word_embed_proj_dim=WIDTH, **{**sizes, **more})


def vit(**more: Any) -> nn.Module:
    """A vision transformer."""
    sizes = {"image_size": 16, "patch_size": 4, **_ENCODER, **more}
    wanted = {k: v for k, v in sizes.items() if k not in {"vocab_size", *_SPECIAL}}
    return _made("ViTModel", "ViTConfig", **wanted)


CAUSAL: dict[str, Callable[..., nn.Module]] = {
    "llama": llama,
    "qwen": qwen,
    "experts": experts,
    "gpt2": gpt2,
}


def token_ids(*shape: int, seed: int = 0) -> Tensor:
    """Random tokens, none of them padding."""
    return torch.randint(1, WORDS, shape, generator=torch.Generator().manual_seed(seed))


def padded(sequences: list[Tensor], side: str = "right") -> dict[str, Tensor]:
    """One batch of sequences of different lengths."""
    longest = max(map(len, sequences))
    ids = torch.full((len(sequences), longest), PAD)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        at = slice(len(sequence)) if side == "right" else slice(longest - len(sequence), None)
        ids[row, at], mask[row, at] = sequence, 1
    return {"input_ids": ids, "attention_mask": mask}
