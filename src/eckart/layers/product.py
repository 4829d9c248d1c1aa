"""The weight that a chain of factors multiplies to, which is computed when its numbers are used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

_KNOWN = {
    getattr(Tensor, name).__get__ for name in ("dtype", "device", "shape", "is_cuda", "layout")
} | {Tensor.dim, Tensor.size, Tensor.numel, Tensor.element_size, Tensor.is_floating_point}
"""What is answered without the numbers."""


@final
class Product(Tensor):
    """A tensor of known shape, dtype and device; any use of its numbers multiplies the factors.

    Networks such as T5 ask a layer for ``weight.dtype`` in every pass, and need no product for it.
    """

    made: Callable[[], Tensor]

    @staticmethod
    def of(made: Callable[[], Tensor], shape: Sequence[int], like: Tensor) -> Product:
        """The product that ``made`` computes, with the dtype and device of ``like``."""
        found: Product = torch.Tensor._make_wrapper_subclass(
            Product, tuple(shape), dtype=like.dtype, device=like.device
        )
        found.made = made
        return found

    @classmethod
    def __torch_function__(
        cls,
        func: Any,
        types: Iterable[type],
        args: Any = (),
        kwargs: Any = None,
    ) -> Any:
        """Answer what is known, or else compute the product and go on with it."""
        with torch._C.DisableTorchFunctionSubclass():
            if func in _KNOWN:
                return func(*args, **(kwargs or {}))
            plain = tree_map(_computed, (tuple(args), dict(kwargs or {})))
            return func(*plain[0], **plain[1])

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: Any,
        types: Iterable[type],
        args: Any = (),
        kwargs: Any = None,
    ) -> Any:
        """The same below Python, without gradients."""
        plain = tree_map(_computed, (tuple(args), dict(kwargs or {})))
        return func(*plain[0], **plain[1])


def _computed(value: Any) -> Any:
    """The product itself; everything else is unchanged."""
    return value.made() if isinstance(value, Product) else value
