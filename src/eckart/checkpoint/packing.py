"""Layers in codes as the tensors of ``compressed-tensors``, packed in words of 32 bits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import gcd
from typing import Any

import torch
from jaxtyping import Float, Int32, Integer
from torch import Tensor, nn

from eckart.layers import Factored, FewBits

FORMAT = "pack-quantized"
_WORD = 32
_KNOWN = (4, 8)
"""The widths that serving engines have kernels for."""
_LEAST_SPAN = 16
"""Inputs that share a scale, at least; with fewer, scales would weigh more than they save."""


@dataclass(frozen=True, eq=False)
class Packed:
    """The weight of one linear layer.

    Attributes:
        numbers: distances from the code of zero, in words; shape (out, ⌈in · bits / 32⌉).
        scale: of each output and group of inputs.
        shape: (out, in).
        bits: 4 or 8.
    """

    numbers: Int32[Tensor, "out words"]
    scale: Float[Tensor, "out groups"]
    shape: tuple[int, int]
    bits: int

    @property
    def group(self) -> int:
        """How many inputs share a scale; -1 where it is all of a row."""
        return -1 if self.scale.shape[1] == 1 else self.shape[1] // self.scale.shape[1]

    def tensors(self, layer: str) -> dict[str, Tensor]:
        """By the names that readers look for."""
        return {
            f"{layer}.weight_packed": self.numbers,
            f"{layer}.weight_scale": self.scale,
            f"{layer}.weight_shape": torch.tensor(self.shape),
        }


def packed_layers(model: nn.Module, dtype: torch.dtype) -> dict[str, Packed]:
    """The linear layers in codes that the format can hold, by name, with scales in a dtype."""
    found = {}
    for name, chain in model.named_modules():
        if type(chain) is Factored and len(chain) == 1 and type(chain[0]) is FewBits:
            packed = None if chain.stands_for else _packed(chain[0], dtype)
            if packed is not None:
                found[name] = packed
    return found


def _packed(part: FewBits, dtype: torch.dtype) -> Packed | None:
    piece, grid = part.piece, part.grid
    columns = piece.inputs
    if piece.kernel or piece.table or piece.activations:
        return None
    group = columns if grid.span >= columns else gcd(columns, grid.span)
    if group < min(columns, _LEAST_SPAN):
        return None
    halves = 2 if piece.bits == 2 else 1  # the code of zero lies between two codes
    codes = halves * (part.whole_codes[0].float() - grid.over(columns, grid.origin)[0])
    bits = next(bits for bits in _KNOWN if bits >= piece.bits)
    scale = grid.over(columns, grid.scale.float())[0, :, ::group] / halves
    numbers = in_words(codes.to(torch.int32), bits)
    return Packed(numbers, scale.to(dtype).contiguous(), (piece.outputs, columns), bits)


def in_words(numbers: Integer[Tensor, "rows columns"], bits: int) -> Int32[Tensor, "rows words"]:
    """Whole numbers from ``-2**(bits-1)``, each raised to begin at zero, the first in the low bits.

    Example:
        >>> import torch
        >>> in_words(torch.tensor([[-8, -7, 7]]), bits=4).tolist()
        [[3856]]
    """
    each = _WORD // bits
    raised = numbers.long() + (1 << (bits - 1))
    padded = nn.functional.pad(raised, (0, -raised.shape[1] % each))
    places = bits * torch.arange(each, device=numbers.device)
    words = (padded.unflatten(1, (-1, each)) << places).sum(-1)
    return torch.where(words >= 1 << (_WORD - 1), words - (1 << _WORD), words).to(torch.int32)


def described(packed: Mapping[str, Packed], others: Iterable[str]) -> dict[str, Any]:
    """What ``config.json`` says of the layers: which have which width, and which have none.

    Args:
        packed: by layer.
        others: the linear layers that are not packed.
    """
    groups: dict[tuple[int, int], list[str]] = {}
    for name, layer in packed.items():
        groups.setdefault((layer.bits, layer.group), []).append(name)
    return {
        "quant_method": "compressed-tensors",
        "format": FORMAT,
        "quantization_status": "compressed",
        "ignore": sorted(others),
        "config_groups": {
            f"group_{at}": {"targets": sorted(names), "weights": _scheme(*key), "format": FORMAT}
            for at, (key, names) in enumerate(sorted(groups.items()))
        },
    }


def _scheme(bits: int, group: int) -> dict[str, Any]:
    strategy = {"strategy": "channel"} if group < 0 else {"strategy": "group", "group_size": group}
    return {"num_bits": bits, "type": "int", "symmetric": True, "dynamic": False, **strategy}
