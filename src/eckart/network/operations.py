"""Operations of a forward pass, by torch's counter."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch.utils._python_dispatch import TorchDispatchMode

T = TypeVar("T")


def counted_operations(run: Callable[[], T]) -> tuple[T, int, Mapping[str, Mapping[Any, int]]]:
    """What ``run`` returns, its floating-point operations, and those of each module.

    Those of each module are missing for a network that differentiates inside its forward pass,
    because torch's counter follows the modules by autograd.
    """
    from torch.utils.flop_counter import FlopCounterMode  # here, because it imports triton

    counter = FlopCounterMode(display=False)
    try:
        with counter, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Using `torch.compile")  # beside the counter's hooks
            found = run()
    except RuntimeError:  # it may be the counter's, or the network's, which comes again
        plain = _Operations()
        with plain:
            found = run()
        return found, plain.total, {}
    return found, counter.get_total_flops(), counter.get_flop_counts()


class _Operations(TorchDispatchMode):
    """Sums what torch's counter knows of each operation, without asking whose it is."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        from torch.utils.flop_counter import flop_registry

        result = func(*args, **(kwargs or {}))
        count = flop_registry.get(func.overloadpacket)
        if count is not None:
            self.total += int(count(*args, **(kwargs or {}), out_val=result))
        return result
