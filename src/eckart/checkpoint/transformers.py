"""Hugging Face models: the files that tell what a network is, and a blank network from them.

``transformers`` is imported only where a model of it is at hand or asked for.
"""

from __future__ import annotations

import copy
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eckart.errors import CheckpointError, InputError
from eckart.network.third_party import is_pretrained
from eckart.storage.tensors import MAX_JSON_BYTES, Outline

CONFIG = "config.json"
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)


def check_merged(model: nn.Module) -> None:
    """Raise ``InputError`` where adapters of ``peft`` wrap layers, which no file tells of."""
    for name, module in model.named_modules():
        if type(module).__module__.partition(".")[0] == "peft":
            raise InputError(
                f"{name or 'the model'} is a {type(module).__name__} of peft: merge the adapters "
                "into the weights first, model = model.merge_and_unload()"
            )


def transformers() -> Any:
    """The library.

    Raises:
        InputError: it is not installed, or older than version 5.
    """
    try:
        import transformers
        import transformers.initialization as since_version_5  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"transformers 5 is needed here ({error}): pip install 'eckart[hf]'"
        ) from error
    return transformers


def describe(model: nn.Module, directory: Path, tokenizer: Any = None) -> None:
    """Write what ``blank_model`` reads, and the tokenizer, beside the weights.

    Args:
        model: any network; of one that is not of ``transformers`` there is nothing to write.
        directory: where.
        tokenizer: None copies the one where the model came from, if that is a local folder.
    """
    if is_pretrained(model):
        config: Any = copy.deepcopy(model.config)
        config.architectures = [type(model).__name__]
        config.dtype = model.dtype
        config.save_pretrained(directory)
        if model.can_generate():  # type: ignore[operator]
            model.generation_config.save_pretrained(directory)  # type: ignore[union-attr, operator]
    if tokenizer is not None:
        tokenizer.save_pretrained(directory)
    elif is_pretrained(model) and model.name_or_path:
        _copy_files(Path(str(model.name_or_path)), _TOKENIZER_FILES, directory)


def _copy_files(source: Path, names: Iterable[str], target: Path) -> None:
    for name in names:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def blank_model(directory: Path, outlines: Mapping[str, Outline]) -> nn.Module:
    """The dense model that ``config.json`` tells of, in eval mode: its weights are not initialised.

    Buffers that are computed and not saved, such as rotary frequencies, are right. Memory that is
    not written to is not used, so the weights take none until they are filled.

    Args:
        directory: holds ``config.json``.
        outlines: of the tensors that will fill it; each gets the dtype it has there.

    Raises:
        CheckpointError: the description is missing or damaged, or of a class that
            ``transformers`` does not have; code beside the file is never run.
    """
    library, path = transformers(), directory / CONFIG
    config = _config(library, path)
    kind = _architecture(library, config, path)
    floating = Counter(dtype for _, dtype in outlines.values() if dtype.is_floating_point)
    if not floating:
        raise CheckpointError(f"{directory} holds no weights")
    layers = getattr(config, "num_hidden_layers", 0)
    if isinstance(layers, int) and layers > len(outlines):
        raise CheckpointError(
            f"{path} tells of {layers} layers, and the weights are {len(outlines)} tensors: the "
            "two do not belong together"
        )
    try:
        model: Any = _uninitialised(kind, config, floating.most_common(1)[0][0])
        if model.can_generate() and (directory / "generation_config.json").is_file():
            model.generation_config = library.GenerationConfig.from_pretrained(directory)
    except Exception as error:  # of any library, for the file may hold anything
        raise CheckpointError(
            f"no network can be made from {path}: {type(error).__name__}: {error}"
        ) from error
    found = {name: dtype for name, (_, dtype) in outlines.items()}
    convert(model, {name: _own_dtype(name, found) for name in model.state_dict()})
    return model.eval()  # type: ignore[no-any-return]


def _uninitialised(kind: Any, config: Any, dtype: torch.dtype) -> Any:
    """The class's network with tied weights, none of them written to."""
    from transformers.initialization import no_init_weights

    with no_init_weights():
        model = kind._from_config(
            config,
            dtype=dtype,
            attn_implementation=None,  # the file's could be a repository of code
            experts_implementation=None,
        )
    model.tie_weights()
    return model


def _config(library: Any, path: Path) -> Any:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise CheckpointError(f"{path} is too large to be a model's description")
        return library.AutoConfig.from_pretrained(
            path.parent, local_files_only=True, trust_remote_code=False
        )
    except CheckpointError:
        raise
    except Exception as error:  # of any library, for the file may hold anything
        raise CheckpointError(
            f"cannot read {path}: {type(error).__name__}: {error}; only for models of transformers "
            "does eckart.save write one, other networks are read by eckart.load(model, directory)"
        ) from error


def _architecture(library: Any, config: Any, path: Path) -> Any:
    """The class, one of the library's own for that configuration."""
    names = config.architectures
    name = names[0] if isinstance(names, list) and names else None
    kind = getattr(library, name, None) if isinstance(name, str) else None
    fits = isinstance(kind, type) and issubclass(kind, library.PreTrainedModel)
    if not fits or kind.config_class is not type(config):  # type: ignore[union-attr]
        raise CheckpointError(
            f"{path}: transformers has no class {name!r:.80} for a "
            f"{type(config).__name__}: make the model yourself, and eckart.load(model, directory)"
        )
    return kind


def _own_dtype(name: str, found: Mapping[str, torch.dtype]) -> torch.dtype | None:
    """The dtype in the file of a tensor, or of the factors that stand in for it."""
    layer, _, leaf = name.rpartition(".")
    return found.get(name, found.get(f"{layer}.0.{leaf}"))


def convert(model: nn.Module, dtypes: Mapping[str, torch.dtype | None]) -> None:
    """Give the named floating tensors other dtypes, in place; buffers that are not saved stay."""
    for name, tensor in model.state_dict(keep_vars=True).items():
        dtype = dtypes.get(name)
        if dtype is not None and dtype.is_floating_point and tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype)
