"""Linear layers that nobody calls, because a module around them multiplies with their weight."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Read = Callable[[str, nn.Module, Tensor, Tensor, Tensor | None], Tensor | None]
"""(name, layer, input, output, bias) → what takes the output's place, or None."""


MATRIX_PRODUCTS: tuple[Callable[..., Any], ...] = (
    torch.matmul,
    Tensor.matmul,
    Tensor.__matmul__,
)


class _Reads(TorchFunctionMode):
    """Hands on every product with the weight of a layer that is not running itself.

    They are ``F.linear(x, weight, bias)``, and ``weight @ x`` where the columns of ``x`` are rows.
    """

    def __init__(self, layers: Mapping[str, nn.Module], read: Read, running: set[int]) -> None:
        super().__init__()
        self._layers = {id(m.weight): (n, m) for n, m in layers.items() if type(m) is nn.Linear}
        self._read, self._running = read, running

    def __torch_function__(
        self, func: Callable[..., Any], _: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call the function first."""
        output = func(*args, **(kwargs or {}))
        if func is F.linear:
            return self._told(output, *linear_arguments(*args, **(kwargs or {})))
        if func in MATRIX_PRODUCTS and len(args) == 2 and id(args[0]) in self._layers:
            weight, columns = args
            if columns.dim() > 1:
                found: Tensor = self._told(output.mT, columns.mT, weight, None)
                return found.mT
        return output

    def _told(self, output: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The output of a product, or what takes its place."""
        name, layer = self._layers.get(id(weight), ("", None))
        if layer is None or id(layer) in self._running:
            return output
        amended = self._read(name, layer, x, output, bias)
        return output if amended is None else amended


def linear_arguments(
    input: Tensor,  # noqa: A002 - as torch's
    weight: Tensor,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The arguments of ``F.linear`` in order, whichever way they were given."""
    return input, weight, bias


@contextmanager
def reading(layers: Mapping[str, nn.Module], read: Read) -> Iterator[None]:
    """Inside, tell of each product with the weight of a linear layer that is not called.

    As in ``F.linear(x, self.qkv.weight, bias)``, where the bias is put together first, or in
    ``self.dt.weight @ steps``.
    """
    running = set[int]()
    linear = [m for m in layers.values() if type(m) is nn.Linear]
    begin = [m.register_forward_pre_hook(lambda m, _: running.add(id(m))) for m in linear]
    end = [m.register_forward_hook(lambda m, *_: running.discard(id(m))) for m in linear]
    try:
        with _Reads(layers, read, running):
            yield
    finally:
        for handle in (*begin, *end):
            handle.remove()
