"""The weight that a chain of factors multiplies to, which is computed when its numbers are used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._pytree import tree_map

from eckart.running.reads import MATRIX_PRODUCTS, linear_arguments

Applied = Callable[[Tensor, Tensor | None], Tensor]
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
    applied: Applied | None

    @staticmethod
    def of(
        made: Callable[[], Tensor],
        shape: Sequence[int],
        like: Tensor,
        applied: Applied | None = None,
    ) -> Product:
        """The product that ``made`` computes, with the dtype and device of ``like``.

        Args:
            made: multiplies the factors.
            shape: of the product.
            like: one of the factors.
            applied: computes ``F.linear`` of an input and a bias with the product, without it.
        """
        found: Product = torch.Tensor._make_wrapper_subclass(
            Product, tuple(shape), dtype=like.dtype, device=like.device
        )
        found.made, found.applied = made, applied
        return found

    @classmethod
    def __torch_function__(
        cls,
        func: Any,
        types: Iterable[type],
        args: Any = (),
        kwargs: Any = None,
    ) -> Any:
        """Answer what is known, apply the factors, or compute the product and go on with it."""
        if func is F.linear:
            x, weight, bias = linear_arguments(*args, **(kwargs or {}))
            if isinstance(weight, Product) and weight.applied is not None:
                return weight.applied(x, bias)
        if func in MATRIX_PRODUCTS and len(args) == 2 and isinstance(args[0], Product):
            weight, columns = args
            if weight.applied is not None and columns.dim() > 1:
                return weight.applied(columns.mT, None).mT
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
