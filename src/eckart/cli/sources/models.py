"""A network from a string: ``torchvision:NAME``, ``path/to/file.py:factory`` or ``hf:NAME``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from difflib import get_close_matches
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from eckart.cli.sources.hub_models import Dtype, HubModel
from eckart.errors import InputError

if TYPE_CHECKING:
    from torch import nn

_TORCHVISION = "torchvision"
_MOST_NAMED = 6  # lines of a mismatch: the first is a heading
_SEED = 0  # of random weights, so that two commands see the same network
_MADE_UP = "num_batches_tracked"  # a counter that evaluation never reads


def load_model(
    name: str,
    weights: Path | None = None,
    num_classes: int | None = None,
    dtype: Dtype | None = None,
) -> nn.Module:
    """The network that a string names, in eval mode.

    Args:
        name: ``torchvision:NAME``; ``path/to/file.py:factory``, which takes no arguments; or for
            models of transformers ``hf:`` and a folder, an id on the hub or a GGUF file, or a
            folder with a ``config.json``.
        weights: a safetensors file of the network's state; None keeps what the factory made.
        num_classes: for torchvision: outputs of the last layer, if not 1,000.
        dtype: for transformers: of the weights, float32 where None.

    Raises:
        InputError: the string, the factory or the weights cannot be used.
    """
    check_model(name, weights, num_classes, dtype)
    hub = HubModel.named(name)
    if hub is not None:
        return hub.load(dtype or Dtype.float32)
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        model = _made(_builder(name, num_classes), name)
    if weights is not None:
        fill(model, weights)
    return model.eval()


def check_model(
    name: str, weights: Path | None, num_classes: int | None, dtype: Dtype | None
) -> None:
    """Raise ``InputError`` for what can be refused before torch is there; see ``load_model``."""
    hub = HubModel.named(name)
    if hub is not None:
        if weights is not None or num_classes is not None:
            raise InputError(
                f"model {name} has its own weights: leave out --weights, --num-classes"
            )
        hub.check_is_there()
        return
    if dtype is not None:
        raise InputError(f"model {name!r}: --dtype is for models of transformers, hf:… only")
    if weights is not None:
        _check_weights(weights)
    source = name.rpartition(":")[0]
    if not source:
        raise InputError(
            f"model {name!r}: give torchvision:NAME or path/to/file.py:factory, or for a model of "
            "transformers hf: and its folder or id"
        )
    if source != _TORCHVISION:
        if num_classes is not None:
            raise InputError(f"model {name!r}: --num-classes is for torchvision only")
        _check_source(Path(source))


def _check_weights(weights: Path) -> None:
    if not weights.is_file():
        raise InputError(f"weights {weights}: there is no such file")
    if weights.suffix != ".safetensors":
        raise InputError(
            f"weights {weights}: only safetensors files are read, because pickled ones can run "
            "code; convert with safetensors.torch.save_model(model, 'model.safetensors')"
        )


def _check_source(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"model file {path}: there is no such file")
    if path.suffix != ".py":
        raise InputError(f"model file {path}: expected Python source, path/to/file.py:factory")


def _builder(name: str, num_classes: int | None) -> Callable[[], Any]:
    source, _, last = name.rpartition(":")
    if source == _TORCHVISION:
        return _torchvision_builder(last, num_classes)
    return _factory(Path(source), last)


def fill(model: nn.Module, weights: Path) -> None:
    """Fill a network from a safetensors file; every parameter and buffer must be there.

    Raises:
        InputError: the file is missing, damaged, not safetensors, or of another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_model as fill_from_file

    _check_weights(weights)
    try:
        missing, unexpected = fill_from_file(model, weights, strict=False)
    except SafetensorError as error:
        raise InputError(f"weights {weights}: the file is damaged: {error}") from error
    except RuntimeError as error:
        lines = str(error).splitlines()
        more = f" … and {len(lines) - _MOST_NAMED} more" if len(lines) > _MOST_NAMED else ""
        some = " ".join(line.strip() for line in lines[:_MOST_NAMED])
        raise InputError(f"weights {weights} do not fit the network: {some}{more}") from error
    missing = [key for key in missing if not key.endswith(_MADE_UP)]
    if missing or unexpected:
        raise InputError(
            f"weights {weights} do not fit the network: {_some(missing)} missing from the file, "
            f"{_some(unexpected)} not in the network"
        )


def _torchvision_builder(name: str, num_classes: int | None) -> Callable[[], Any]:
    try:
        from torchvision import models
    except ImportError as error:
        raise InputError("torchvision is not installed: pip install 'eckart[vision]'") from error
    known = models.list_models(module=models)
    if name not in known:
        near = get_close_matches(name, known, n=3) or ["resnet18", "vgg16", "vit_b_16"]
        raise InputError(
            f"torchvision has no classifier {name!r}; of its {len(known)}, near: {', '.join(near)}"
        )
    extra = {} if num_classes is None else {"num_classes": num_classes}
    return lambda: models.get_model(name, weights=None, **extra)


def _factory(path: Path, name: str) -> Callable[[], Any]:
    from torch import nn

    module = _imported(path)
    factory = getattr(module, name, None)
    if factory is None:
        public = [n for n, v in vars(module).items() if _is_from(v, module)]
        raise InputError(f"{path} has no {name!r}; it has {', '.join(public) or 'no functions'}")
    if isinstance(factory, nn.Module) or not callable(factory):
        raise InputError(
            f"{path}:{name} is a {type(factory).__name__}; name a function without arguments "
            "that makes the network"
        )
    return factory  # type: ignore[no-any-return]


def _is_from(value: Any, module: ModuleType) -> bool:
    return callable(value) and getattr(value, "__module__", None) == module.__name__


def _imported(path: Path) -> ModuleType:
    """Run a file as a module; like a script, it can import its neighbours."""
    spec = spec_from_file_location(f"eckart_model_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"model file {path} cannot be imported")
    module = sys.modules[spec.name] = module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(
            f"model file {path} does not run: {type(error).__name__}: {error} (--debug shows where)"
        ) from error
    finally:
        sys.path.remove(str(path.resolve().parent))
    return module


def _made(make: Callable[[], Any], name: str) -> nn.Module:
    from torch import nn

    try:
        model = make()
    except Exception as error:
        raise InputError(
            f"model {name} cannot be made: {type(error).__name__}: {error} (--debug shows where)"
        ) from error
    if not isinstance(model, nn.Module):
        raise InputError(
            f"model {name}: the factory returned a {type(model).__name__}, not a torch.nn.Module"
        )
    return model


def _some(keys: list[str]) -> str:
    """How many, and the first few."""
    return f"{len(keys)} ({', '.join(keys[:3])}{', …' if keys[3:] else ''})" if keys else "none"
