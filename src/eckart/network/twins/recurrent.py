"""Recurrent layers made of plain layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from eckart.network.twins.direction import Direction, State
from eckart.network.twins.steps import Steps


@dataclass(frozen=True)
class Shape:
    """What torch's recurrent layers are made with.

    Attributes:
        mode: ``"LSTM"``, ``"GRU"``, ``"RNN_TANH"`` or ``"RNN_RELU"``.
        input_size, hidden_size, proj_size: widths; ``proj_size`` 0 is none.
        bias, batch_first, dropout: as in ``nn.LSTM``.
    """

    mode: str
    input_size: int
    hidden_size: int
    proj_size: int
    bias: bool
    batch_first: bool
    dropout: float


@final
class Recurrent(nn.Module):
    """What ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN`` computes, of plain layers.

    Attributes:
        layers: one ``Direction`` per layer.
        reversed: those that go from the end to the beginning; empty if there are none.
    """

    def __init__(
        self, shape: Shape, layers: Sequence[Direction], backwards: Sequence[Direction]
    ) -> None:
        """Of its layers, from the first to the last."""
        super().__init__()
        self.shape = shape
        self.layers, self.reversed = nn.ModuleList(layers), nn.ModuleList(backwards)
        self.mode, self.batch_first, self.dropout = shape.mode, shape.batch_first, shape.dropout
        self.input_size, self.hidden_size = shape.input_size, shape.hidden_size
        self.proj_size, self.bias = shape.proj_size, shape.bias
        self.num_layers, self.bidirectional = len(layers), bool(backwards)

    def flatten_parameters(self) -> None:
        """Nothing; networks that hold torch's layers call this."""

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:  # noqa: A002 - as torch's
        """As torch's layer: a tensor or a packed sequence, and the states; both come back."""
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        axis = 1 if self.batch_first else 0
        alone = input.dim() == 2
        x = input.unsqueeze(1 - axis) if alone else input
        given = _mapped(hx, lambda s: s.unsqueeze(1) if alone else s)
        y, last = self._run(x, Steps(axis), given)
        return (y.squeeze(1 - axis), _mapped(last, lambda s: s.squeeze(1))) if alone else (y, last)

    def _packed(self, packed: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        into, back = packed.sorted_indices, packed.unsorted_indices
        given = _mapped(hx, lambda s: s if into is None else s.index_select(1, into))
        y, last = self._run(packed.data, Steps(0, packed.batch_sizes), given)
        last = _mapped(last, lambda s: s if back is None else s.index_select(1, back))
        return PackedSequence(y, packed.batch_sizes, into, back), last

    def _run(self, x: Tensor, steps: Steps, hx: Any) -> tuple[Tensor, Any]:
        before = self._states(hx, x, steps.width(x))
        after: list[State] = []
        for at, layer in enumerate(self.layers):
            both = [layer, self.reversed[at]] if self.bidirectional else [layer]
            found = [part(x, steps, before[len(after) + i]) for i, part in enumerate(both)]
            after += [state for _, state in found]
            x = torch.cat([y for y, _ in found], -1) if self.bidirectional else found[0][0]
            if self.training and self.dropout > 0 and at + 1 < self.num_layers:
                x = steps.dropped(x, self.dropout)
        states, cells = (torch.stack(part) for part in zip(*after, strict=True))
        return x, (states, cells) if self.mode == "LSTM" else states

    def _states(self, hx: Any, like: Tensor, count: int) -> list[State]:
        """The state and cell of every layer and direction to begin with; by default zeros."""
        number = self.num_layers * (1 + self.bidirectional)
        if hx is None:
            h = like.new_zeros(number, count, self.proj_size or self.hidden_size)
            hx = (h, like.new_zeros(number, count, self.hidden_size)) if self.mode == "LSTM" else h
        h, c = hx if self.mode == "LSTM" else (hx, hx.new_zeros(number, count, 0))
        return list(zip(h.unbind(0), c.unbind(0), strict=True))


def _mapped(states: Any, change: Any) -> Any:
    """Both states of an LSTM, or the one of another layer; None stays."""
    if isinstance(states, (tuple, list)):
        return tuple(change(state) for state in states)
    return None if states is None else change(states)
