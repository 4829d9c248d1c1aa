"""Hugging Face models: the files that describe a network, and a blank network made from them.

``transformers`` is imported only if a model of it is given or asked for.
"""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eckart.errors import CheckpointError, InputError, WriteError
from eckart.network.third_party import is_pretrained
from eckart.storage.header import Outline
from eckart.storage.reading import read_json
from eckart.storage.writing import write_json

CONFIG = "config.json"
_FILES = {"config": CONFIG, "generation_config": "generation_config.json"}
_COUNTED = ("layer", "expert", "head", "label")
_FEW = 1000  # this many of them do no harm, whatever the weights are
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


def describe(model: nn.Module, directory: Path, tokenizer: Any = None) -> dict[str, Any]:
    """The description that ``blank_model`` reads, also written to files for ``transformers``.

    Args:
        model: any network. If it is not of ``transformers``, only a tokenizer is written.
        directory: where the description and the tokenizer are written.
        tokenizer: None copies the one from where the model came from, if that is a local folder.

    Raises:
        WriteError: the disk is full.
    """
    try:
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
    except OSError as error:
        raise WriteError(
            f"cannot write {directory}: {error.strerror}; the network that was there is unchanged"
        ) from error
    found = {key: directory / name for key, name in _FILES.items()}
    return {key: read_json(path) if path.exists() else None for key, path in found.items()}


def _copy_files(source: Path, names: Iterable[str], target: Path) -> None:
    for name in names:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def blank_model(
    directory: Path, structure: Mapping[str, Any], outlines: Mapping[str, Outline]
) -> nn.Module:
    """The dense model that a structure describes, in eval mode, with uninitialised weights.

    Buffers that are computed and not saved, such as rotary frequencies, have their right values.
    Memory is used only when it is written to, so the weights take none until they are filled.

    Args:
        directory: where the structure is, for messages and the model's ``name_or_path``.
        structure: contains what ``describe`` returned.
        outlines: of the tensors that will fill the model; each tensor gets the dtype given here.

    Raises:
        CheckpointError: the description is missing or damaged, or its class is not in
            ``transformers``. Code beside the file is never run.
    """
    library = transformers()
    check_sizes(structure.get("config"), outlines)
    config = _config(library, structure, directory)
    kind = _architecture(library, config, directory)
    floating = Counter(dtype for _, dtype in outlines.values() if dtype.is_floating_point)
    if not floating:
        raise CheckpointError(f"{directory} holds no weights")
    try:
        model: Any = uninitialised(kind, config, floating.most_common(1)[0][0])
        if model.can_generate() and structure.get("generation_config") is not None:
            with _as_files(structure) as folder:
                model.generation_config = library.GenerationConfig.from_pretrained(folder)
    except Exception as error:  # the file may hold anything, so any error is possible
        raise CheckpointError(
            f"no network can be made from the config in {directory}: {type(error).__name__}: "
            f"{error!s:.500}"
        ) from error
    found = {name: dtype for name, (_, dtype) in outlines.items()}
    convert(model, {name: _own_dtype(name, found) for name in model.state_dict()})
    return model.eval()  # type: ignore[no-any-return]


def check_sizes(described: Any, outlines: Mapping[str, Outline]) -> None:
    """Raise ``CheckpointError`` for numbers of layers, experts, … far above any size of a weight.

    Making such a model would take memory and time for each of them before the weights are compared.
    """
    widths = [size for shape, _ in outlines.values() for size in shape]
    most = max(_FEW, len(outlines), *widths) if widths else _FEW
    items = described.items() if isinstance(described, dict) else ()
    for key, value in items:
        counted = type(value) is int and any(word in str(key) for word in _COUNTED)
        if counted and value > most:
            raise CheckpointError(
                f"the config has {key} = {value}, and no weight has such a size: the two do not "
                "belong together"
            )
        for nested in value if isinstance(value, list) else [value]:
            check_sizes(nested, outlines)


def uninitialised(kind: Any, config: Any, dtype: torch.dtype) -> Any:
    """A network of the class whose weights are tied and not initialised."""
    from transformers.initialization import no_init_weights

    with no_init_weights():
        model = kind._from_config(
            config,
            dtype=dtype,
            attn_implementation=None,  # the one in the file could be a repository of code
            experts_implementation=None,
        )
    model.tie_weights()
    return model


def _config(library: Any, structure: Mapping[str, Any], directory: Path) -> Any:
    if structure.get("config") is None:
        raise CheckpointError(
            f"{directory} does not hold a model of transformers: load it with "
            "eckart.load(model, directory) and a fresh model of the original class"
        )
    try:
        with _as_files(structure) as folder:
            config = library.AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # the file may hold anything, so any error is possible
        raise CheckpointError(
            f"cannot read the config in {directory}: {type(error).__name__}: {error!s:.500}"
        ) from error
    config.name_or_path = str(directory)
    return config


@contextmanager
def _as_files(structure: Mapping[str, Any]) -> Iterator[Path]:
    """A temporary folder of the files in a structure, which the library reads by its own rules."""
    with tempfile.TemporaryDirectory() as name:
        for key, file in _FILES.items():
            if structure.get(key) is not None:
                write_json(Path(name) / file, structure[key])
        yield Path(name)


def _architecture(library: Any, config: Any, directory: Path) -> Any:
    """The model's class, which must be the library's own for this configuration."""
    names = config.architectures
    name = names[0] if isinstance(names, list) and names else None
    kind = getattr(library, name, None) if isinstance(name, str) else None
    fits = isinstance(kind, type) and issubclass(kind, library.PreTrainedModel)
    if not fits or kind.config_class is not type(config):  # type: ignore[union-attr]
        raise CheckpointError(
            f"{directory}: transformers has no class {name!r:.80} for a {type(config).__name__}: "
            "make the model yourself and call eckart.load(model, directory)"
        )
    return kind


def _own_dtype(name: str, found: Mapping[str, torch.dtype]) -> torch.dtype | None:
    """The dtype that the file has for a tensor, or for the factors that replace it."""
    layer, _, leaf = name.rpartition(".")
    return found.get(name, found.get(f"{layer}.0.{leaf}"))


def convert(model: nn.Module, dtypes: Mapping[str, torch.dtype | None]) -> None:
    """Convert the named floating-point tensors in place; buffers that are not saved stay."""
    for name, tensor in model.state_dict(keep_vars=True).items():
        dtype = dtypes.get(name)
        if dtype is not None and dtype.is_floating_point and tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype)
