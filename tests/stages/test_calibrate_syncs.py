"""Calibration asks the device for no number per layer: a GPU would have to finish what it does."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import eckart

ASKS = {"_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "bincount"}
"""Operations whose result, or the shape of it, depends on the numbers."""


class Asked(TorchDispatchMode):
    """Counts the operations that wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name == "index" and any(
            isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8) for i in args[1]
        )
        moved = name == "_to_copy" and torch.device((kwargs or {}).get("device") or "cpu") != (
            args[0].device
        )
        if name in ASKS or by_mask or moved:
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


def asked(model: nn.Module, batches: list[Any], **how: Any) -> Counter[str]:
    """What the second batch asks for; the first is looked at more closely."""
    counts = []
    for part in (batches[:1], batches):
        with Asked() as mode:
            eckart.calibrate(model, part, progress=False, **how)
        counts.append(mode.counts)
    return counts[1] - counts[0]


def linear(layers: int) -> nn.Module:
    return nn.Sequential(*(part for _ in range(layers) for part in (nn.Linear(6, 6), nn.ReLU())))


def convolutions(layers: int) -> nn.Module:
    kinds = (nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.ConvTranspose2d(4, 4, 3))
    return nn.Sequential(*(kinds[n % 3] for n in range(1)), *_fresh(layers))


def _fresh(layers: int) -> list[nn.Module]:
    return [m for _ in range(layers) for m in (nn.Conv2d(4, 4, 3, padding=1, stride=1), nn.ReLU())]


class Masked(nn.Module):
    """Layers along tokens, of which some are padding."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.words, self.body = nn.Embedding(9, 6), linear(layers)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.body(self.words(input_ids))


def tokens() -> dict[str, Tensor]:
    mask = torch.ones(3, 5, dtype=torch.int64)
    mask[0, 2:] = 0
    return {"input_ids": torch.randint(0, 9, (3, 5)), "attention_mask": mask}


CASES: dict[str, tuple[Callable[[int], nn.Module], Callable[[], Any], dict[str, Any]]] = {
    "linear": (linear, lambda: torch.randn(4, 6), {}),
    "inputs alone": (linear, lambda: torch.randn(4, 6), {"metric": None}),
    "convolutions": (convolutions, lambda: torch.randn(2, 4, 6, 6), {}),
    "masks": (Masked, tokens, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_no_layer_waits_for_the_device(case: str):
    make, batch, how = CASES[case]
    few, many = (asked(make(n).eval(), [batch(), batch()], **how) for n in (2, 6))
    assert many == few, f"{many - few} more for four more layers"
    assert sum(many.values()) < 20
