"""Recurrent cells made of plain layers."""

from __future__ import annotations

from typing import Any, final

from torch import Tensor, nn

from eckart.network.twins.cells import STEPS


@final
class Cell(nn.Module):
    """What ``nn.LSTMCell``, ``nn.GRUCell`` or ``nn.RNNCell`` computes, of two layers.

    Attributes:
        input: from the inputs to the gates.
        recurrent: from the state before to the gates.
        mode: of ``nn.RNNBase``: ``"LSTM"``, ``"GRU"``, ``"RNN_TANH"`` or ``"RNN_RELU"``.
        input_size, hidden_size, bias: as in torch's cells.
    """

    def __init__(
        self, mode: str, sizes: tuple[int, int], bias: bool, layers: tuple[nn.Module, nn.Module]
    ) -> None:
        """Of its layers, for inputs and for states."""
        super().__init__()
        self.mode, self.bias = mode, bias
        self.input_size, self.hidden_size = sizes
        self.input, self.recurrent = layers

    def forward(self, input: Tensor, hx: Any = None) -> Any:  # noqa: A002 - as torch's
        """As torch's cell: the state, and for an LSTM the cell; zeros to begin with by default."""
        if hx is None:
            zeros = input.new_zeros(*input.shape[:-1], self.hidden_size)
            hx = (zeros, zeros) if self.mode == "LSTM" else zeros
        state, cell = hx if self.mode == "LSTM" else (hx, hx)
        after = STEPS[self.mode](self.input(input), self.recurrent(state), state, cell)
        return after if self.mode == "LSTM" else after[0]
