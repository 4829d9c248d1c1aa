"""Which parameters a network uses on the data that it sees, whoever multiplies with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, final

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from eckart.running.batches import tensors_in

_LOOKUPS: tuple[Callable[..., Any], ...] = (F.embedding, torch.embedding)


class _Reads(TorchFunctionMode):
    """Notes which tensors torch's functions get, where the result is a tensor.

    Attributes:
        seen: the identities of all of them.
        computed: of those that some function got that does not only look up rows.
        functions: the name of the first function that got each.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[int] = set()
        self.computed: set[int] = set()
        self.functions: dict[int, str] = {}

    def __torch_function__(
        self, func: Callable[..., Any], _: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call the function; a read of a shape or a dtype gives no tensor, and does not count."""
        result = func(*args, **(kwargs or {}))
        if tensors_in(result):
            given = {id(t) for t in tensors_in((args, kwargs or {}))}
            self.seen |= given
            self.computed |= given if func not in _LOOKUPS else set()
            named = getattr(func, "__name__", "_")
            new = () if named.startswith("_") else given - self.functions.keys()
            self.functions |= dict.fromkeys(new, named)
        return result


@final
class Reached:
    """Follows a network from pass to pass.

    A parameter is reached if its module is called, or if one of torch's functions gets it in the
    first pass. What scripted modules do is not seen, so their parameters count as reached.

    Attributes:
        missing: the parameters that no pass reached so far, by name.
        computed: identities of the parameters that the first pass used beyond looking up rows.
        functions: the names of torch's functions that got a parameter in the first pass.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model, self._first = model, True
        self.computed: set[int] = set()
        self.functions: dict[int, str] = {}
        scripts = [m for m in model.modules() if type(m).__module__ == "torch.jit._script"]
        hidden = {id(p) for module in scripts for p in module.parameters()}
        self.missing = {n: p for n, p in model.named_parameters() if id(p) not in hidden}

    @contextmanager
    def following(self) -> Iterator[None]:
        """Inside, one pass runs."""
        left = {id(p) for p in self.missing.values()}
        called: set[int] = set()
        owners = [m for m in self._model.modules() if not left.isdisjoint(_own(m))]
        handles = [m.register_forward_pre_hook(lambda m, _: called.update(_own(m))) for m in owners]
        reads = _Reads() if self._first else None
        try:
            with reads or nullcontext():
                yield
        finally:
            for handle in handles:
                handle.remove()
        self._first = False
        found = called | (reads.seen if reads is not None else set())
        self.computed |= reads.computed if reads is not None else set()
        self.functions |= reads.functions if reads is not None else {}
        self.missing = {name: p for name, p in self.missing.items() if id(p) not in found}

    def reads(self, layer: nn.Module) -> bool:
        """Whether some pass used the weight of a layer."""
        missing = {id(p) for p in self.missing.values()}
        matrices = (p for p in layer._parameters.values() if p is not None and p.dim() > 1)
        return any(id(p) not in missing for p in matrices)

    def reader(self, layer: nn.Module) -> str:
        """Which of torch's functions got the weight of a layer first, in words; or nothing."""
        found = (self.functions.get(id(p)) for p in layer._parameters.values())
        name = next((name for name in found if name is not None), None)
        return "" if name is None else f", with {name}"

    def computes_with(self, layer: nn.Module) -> bool:
        """Whether the first pass used the weight of a layer in more than lookups."""
        return any(id(p) in self.computed for p in layer._parameters.values())


def _own(module: nn.Module) -> set[int]:
    return {id(p) for p in module._parameters.values() if p is not None}
