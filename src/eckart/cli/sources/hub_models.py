"""A model of transformers from a string: a folder, an id on the hub, or a GGUF file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import eckart
from eckart.cli.names import CONFIG, STRUCTURE
from eckart.cli.options.parsing import is_path
from eckart.cli.shown.output import say
from eckart.errors import EckartError, InputError

if TYPE_CHECKING:
    import torch
    from torch import nn

T = TypeVar("T")
_PREFIX = "hf:"


class Dtype(str, Enum):
    """Of the weights in memory."""

    auto = "auto"  # as they are stored
    float32 = "float32"
    bfloat16 = "bfloat16"

    @property
    def torch_dtype(self) -> torch.dtype | None:
        """None leaves them as they are stored."""
        import torch

        named = {"float32": torch.float32, "bfloat16": torch.bfloat16}
        return named.get(self.value)


def transformers() -> Any:
    """The library, or an error that says how to install it."""
    from eckart.checkpoint.transformers import transformers as library  # brings torch

    return library()


@dataclass(frozen=True)
class HubModel:
    """Where a model of transformers is. Code that comes with it is never run, nor pickles read."""

    name: str

    @classmethod
    def named(cls, model: str) -> HubModel | None:
        """What ``hf:NAME`` names, or a folder with a ``config.json``; None for other strings."""
        if model.startswith(_PREFIX):
            return cls(model.removeprefix(_PREFIX))
        return cls(model) if (Path(model) / CONFIG).is_file() else None

    def check_is_there(self) -> None:
        """Raise ``InputError`` where the name is a path and nothing is there."""
        path = self._path
        if self.is_gguf and not path.is_file():
            raise InputError(f"model file {self.name}: there is no such file")
        if is_path(self.name) and not path.exists():
            raise InputError(f"model {self.name}: there is no such folder")
        if path.is_dir() and not (path / CONFIG).is_file():
            raise InputError(f"model {self.name}: the folder has no {CONFIG}")

    @property
    def is_gguf(self) -> bool:
        """Whether it is one file of quantised weights."""
        return self.name.endswith(".gguf")

    def load(self, dtype: Dtype) -> nn.Module:
        """The model, in eval mode; one that eckart saved comes back with its factors."""
        if (self._path / STRUCTURE).is_file():
            return eckart.load_pretrained(self._path, dtype=dtype.torch_dtype)
        model, info = self._read(
            lambda **where: self._class.from_pretrained(
                dtype=dtype.value,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                **where,
            )
        )
        missing = sorted(info["missing_keys"])
        if missing:
            some = ", ".join(missing[:3])
            say(f"{self.name}: {len(missing)} weights are not in the checkpoint and random: {some}")
        return model.eval()  # type: ignore[no-any-return]

    def outline(self, dtype: Dtype) -> nn.Module:
        """The model without weights, on the meta device, from its ``config.json`` alone.

        The name may also be that of a file, or of a kind of model, whose configuration is then the
        default one: ``llama``.
        """
        import torch

        library, path = transformers(), self._path
        if path.is_file() and not self.is_gguf:
            return HubModel(str(path.parent)).outline(dtype)
        known = not path.exists() and self.name in library.CONFIG_MAPPING
        config = library.AutoConfig.for_model(self.name) if known else self._config
        named = getattr(library, (config.architectures or [""])[0], None)
        make = named._from_config if named else library.AutoModelForCausalLM.from_config
        try:
            with torch.device("meta"):
                model = make(config, dtype=dtype.torch_dtype or torch.bfloat16)
        except Exception as error:
            raise InputError(
                f"model {self.name} cannot be outlined: {type(error).__name__}: {error!s:.200}"
            ) from error
        return model.eval()  # type: ignore[no-any-return]

    def tokenizer(self) -> Any:
        """Its tokenizer, or None where it has none."""
        try:
            found = self._read(
                lambda **where: transformers().AutoTokenizer.from_pretrained(
                    trust_remote_code=False, **where
                )
            )
        except InputError:
            return None
        made_up = len(found) <= len(found.all_special_ids)  # where transformers finds no files
        return None if made_up else found

    def check_reads_text(self, length: int, *, predicts: bool) -> None:
        """Raise ``InputError`` unless it reads sequences of that many tokens, and predicts them."""
        config: Any = self._config
        if config.is_encoder_decoder or not hasattr(config, "vocab_size"):
            raise InputError(
                f"{self.name} is a {self._class.__name__}: text is for causal language models and "
                "for encoders of text"
            )
        can_generate = getattr(self._class, "can_generate", lambda: True)  # AutoModel… has none
        if predicts and not can_generate():
            raise InputError(
                f"{self.name} is a {self._class.__name__}, which predicts no next token: it has no "
                "perplexity; leave --perplexity out"
            )
        most = getattr(config, "max_position_embeddings", None)
        if isinstance(most, int) and length > most:
            raise InputError(
                f"{self.name} reads {most} tokens at most and --length is {length}: "
                f"give --length {most} or less"
            )

    @cached_property
    def _config(self) -> Any:
        return self._read(
            lambda **where: transformers().AutoConfig.from_pretrained(
                trust_remote_code=False, **where
            )
        )

    @cached_property
    def _class(self) -> Any:
        """The class that the description names, or else the causal language model of its type."""
        library = transformers()
        named = (self._config.architectures or [""])[0]
        return getattr(library, named, library.AutoModelForCausalLM)

    @property
    def _path(self) -> Path:
        return Path(self.name).expanduser()

    def _read(self, reader: Callable[..., T]) -> T:
        """Call ``reader`` with where the files are; what goes wrong becomes one error."""
        library, path = transformers(), self._path
        if not sys.stderr.isatty():
            library.logging.disable_progress_bar()
        self.check_is_there()
        local = path.exists()
        where = {"pretrained_model_name_or_path": str(path) if local else self.name}
        if self.is_gguf:
            where = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
        try:
            return reader(**where)
        except EckartError:
            raise
        except Exception as error:  # of transformers and of a dozen libraries below it
            what = f"{type(error).__name__}: {' '.join(str(error).split()):.300}"
            if local:
                raise InputError(f"model {self.name} cannot be read: {what}") from error
            raise InputError(
                f"model {self.name}: there is no such folder, and no such model could be had from "
                f"the Hugging Face hub ({what}); where there is a network, download it with "
                f"`hf download {self.name}` and give its folder, as in hf:FOLDER"
            ) from error
