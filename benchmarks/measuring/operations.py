"""Floating-point operations of dense linear algebra, counted as the calls are made."""

from collections import Counter
from collections.abc import Callable
from math import prod
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


def _product(left: Tensor, right: Tensor) -> int:
    return 2 * left.numel() * right.shape[-1]


def _triangular(a: Tensor, b: Tensor) -> int:
    return a.shape[-1] * b.numel()


def _cholesky(a: Tensor) -> int:
    return a.shape[-1] ** 3 // 3


def _qr(a: Tensor) -> int:
    long, short = max(a.shape), min(a.shape)
    return 2 * long * short**2 - 2 * short**3 // 3


COUNTS: dict[str, Callable[..., int]] = {
    "mm": _product,
    "addmm": lambda _, left, right: _product(left, right),
    "linalg_cholesky_ex": _cholesky,
    "linalg_qr": _qr,
    "linalg_solve_triangular": _triangular,
    "cholesky_solve": lambda b, a: 2 * _triangular(a, b),
    "_linalg_eigh": lambda a: 9 * a.shape[-1] ** 3,
}


class Operations(TorchDispatchMode):
    """Counts while it is active; elementwise work counts one operation per output entry."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in COUNTS:
            tensors = [a for a in args if isinstance(a, Tensor)]
            self.counts[name] += COUNTS[name](*tensors)
        elif isinstance(result, Tensor) and result.is_floating_point():
            self.counts["elementwise"] += prod(result.shape)
        return result

    @property
    def total(self) -> int:
        """All operations except the elementwise ones."""
        return sum(n for name, n in self.counts.items() if name != "elementwise")
