"""The equations of recurrent cells, one step of each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Step = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(of the input, of the state before, the state before, the cell) → the state, the cell."""


def lstm(given: Tensor, before: Tensor, state: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Source: Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000."""
    enter, forget, new, leave = (given + before).chunk(4, -1)
    cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
    return leave.sigmoid() * cell.tanh(), cell


def gru(given: Tensor, before: Tensor, state: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Source: Cho et al. 2014 (1406.1078), with the reset gate behind the product, as in torch."""
    (reset, update, new), (resets, updates, old) = given.chunk(3, -1), before.chunk(3, -1)
    fresh = (new + (reset + resets).sigmoid() * old).tanh()
    return fresh + (update + updates).sigmoid() * (state - fresh), cell


def tanh(given: Tensor, before: Tensor, state: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Source: Elman 1990."""
    return (given + before).tanh(), cell


def relu(given: Tensor, before: Tensor, state: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Source: Elman 1990, with a rectifier."""
    return (given + before).relu(), cell


STEPS: dict[str, Step] = {"LSTM": lstm, "GRU": gru, "RNN_TANH": tanh, "RNN_RELU": relu}
FUSED: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "LSTM": torch.lstm,
    "GRU": torch.gru,
    "RNN_TANH": torch.rnn_tanh,
    "RNN_RELU": torch.rnn_relu,
}
