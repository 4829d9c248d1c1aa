"""``nn.LSTMCell``, ``nn.GRUCell``, ``nn.RNNCell``: the weights of inputs and states are layers."""

from __future__ import annotations

from typing import cast, final

from torch import nn

from eckart.network.twins.cell import Cell
from eckart.network.twins.plain import is_hooked, is_whole, linear_of

_KINDS = (nn.LSTMCell, nn.GRUCell, nn.RNNCell)
_NAMES = {f"{part}_{end}" for part in ("weight", "bias") for end in ("ih", "hh")}
_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


@final
class CellTwin:
    """With or without biases; also a subclass that only inherits."""

    name = "cell"

    def applies(self, module: nn.Module) -> bool:
        """``forward`` is torch's own, and no weight is computed from others."""
        return (
            isinstance(module, _KINDS)
            and any(type(module).forward is kind.forward for kind in _KINDS)
            and set(module._parameters) == _NAMES
            and not (module._modules or is_hooked(module))
            and all(p.is_floating_point() for p in module.parameters())
        )

    def open(self, module: nn.Module) -> Cell:
        """Layers over the module's own parameters."""
        old = cast(nn.RNNCellBase, module)
        layers = (
            linear_of(old.weight_ih, old.bias_ih, old),
            linear_of(old.weight_hh, old.bias_hh, old),
        )
        opened = Cell(_mode(old), (old.input_size, old.hidden_size), old.bias, layers)
        return opened.train(old.training)

    def close(self, module: nn.Module) -> nn.Module | None:
        """Torch's own cell again, over the parameters of the plain layers."""
        if not isinstance(module, Cell):
            return None
        width, (given, state) = module.hidden_size, (module.input, module.recurrent)
        gates = _GATES[module.mode] * width
        if not (is_whole(given, module.input_size, gates) and is_whole(state, width, gates)):
            return None
        sizes, how = (module.input_size, module.hidden_size, module.bias), ("meta", None)
        closed: nn.RNNCellBase
        if module.mode == "LSTM":
            closed = nn.LSTMCell(*sizes, *how)
        elif module.mode == "GRU":
            closed = nn.GRUCell(*sizes, *how)
        else:
            closed = nn.RNNCell(*sizes, module.mode.removeprefix("RNN_").lower(), *how)
        for end, layer in (("ih", given), ("hh", state)):
            setattr(closed, f"weight_{end}", layer.weight)
            if module.bias:
                setattr(closed, f"bias_{end}", layer.bias)
        return closed.train(module.training)

    def note(self, module: nn.Module) -> str | None:
        """Nothing: the weights are those of the module."""
        return None


def _mode(module: nn.Module) -> str:
    if isinstance(module, nn.RNNCell):
        return f"RNN_{module.nonlinearity.upper()}"
    return "LSTM" if isinstance(module, nn.LSTMCell) else "GRU"
