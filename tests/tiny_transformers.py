"""Models of transformers, a few thousand random weights each: no data are needed for them."""

from typing import Any

import pytest
import torch
from torch import nn

WORDS = 61  # their vocabulary
_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": WORDS,
    "max_position_embeddings": 64,
}
_GROUPED = {**_SIZES, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2}


def tiny(name: str, **changes: Any) -> nn.Module:
    """A model of one architecture, in eval mode; ``changes`` to its configuration."""
    t = pytest.importorskip("transformers")
    kinds = {
        "llama": (t.LlamaForCausalLM, t.LlamaConfig, _GROUPED),
        "gemma": (t.GemmaForCausalLM, t.GemmaConfig, {**_GROUPED, "head_dim": 8}),
        "qwen2": (t.Qwen2ForCausalLM, t.Qwen2Config, _GROUPED),
        "neox": (t.GPTNeoXForCausalLM, t.GPTNeoXConfig, _SIZES),
        "bert": (t.BertModel, t.BertConfig, _SIZES),
        "roberta": (t.RobertaModel, t.RobertaConfig, _SIZES),
    }
    kind, config, sizes = kinds[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(config(**{**sizes, **changes})).eval()


def tiny_tokenizer() -> Any:
    """Words w1, w2 … as tokens 1, 2 …; all others are token 0."""
    tokenizers = pytest.importorskip("tokenizers")
    words = {"[UNK]": 0, **{f"w{index}": index for index in range(1, WORDS)}}
    plain = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    plain.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made = pytest.importorskip("transformers").PreTrainedTokenizerFast
    return made(tokenizer_object=plain, unk_token="[UNK]")


def tokens(rows: int = 2, length: int = 12) -> torch.Tensor:
    """Token ids, the same each time."""
    return torch.randint(5, WORDS, (rows, length), generator=torch.Generator().manual_seed(0))
