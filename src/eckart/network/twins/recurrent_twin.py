"""``nn.LSTM``, ``nn.GRU``, ``nn.RNN``: the weights of inputs and states are layers like others."""

from __future__ import annotations

from typing import Any, cast, final

from torch import Tensor, nn

from eckart.network.twins.direction import Direction
from eckart.network.twins.plain import is_hooked, is_whole, linear_of
from eckart.network.twins.recurrent import Recurrent, Shape

_KINDS = (nn.LSTM, nn.GRU, nn.RNN)
_LAYERS = {"input": "ih", "recurrent": "hh", "projection": "hr"}
_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


@final
class RecurrentTwin:
    """Any number of layers, both directions, with or without biases and projections."""

    name = "recurrent"

    def applies(self, module: nn.Module) -> bool:
        """``forward`` is torch's own, and no weight is computed from others."""
        if not isinstance(module, _KINDS):
            return False
        names = {name for layer in module._all_weights for name in layer}
        return (
            any(type(module).forward is kind.forward for kind in _KINDS)
            and set(module._parameters) == names
            and not (module._modules or is_hooked(module))
            and all(p.is_floating_point() for p in module.parameters())
        )

    def open(self, module: nn.Module) -> Recurrent:
        """Layers over the module's own parameters."""
        old = cast(nn.RNNBase, module)
        shape = Shape(
            old.mode,
            old.input_size,
            old.hidden_size,
            old.proj_size,
            old.bias,
            old.batch_first,
            float(old.dropout),
        )
        ends = ("", "_reverse") if old.bidirectional else ("",)
        forth, *back = (
            [_direction(old, f"_l{at}{end}", bool(end)) for at in range(old.num_layers)]
            for end in ends
        )
        built = Recurrent(shape, forth, back[0] if back else [])
        return built.train(old.training)

    def close(self, module: nn.Module) -> nn.Module | None:
        """Torch's own layer again, over the parameters of the plain layers."""
        if not isinstance(module, Recurrent) or not _all_whole(module):
            return None
        shape = module.shape
        kinds = {"LSTM": nn.LSTM, "GRU": nn.GRU}
        more: dict[str, Any] = {"proj_size": shape.proj_size} if shape.mode == "LSTM" else {}
        if shape.mode.startswith("RNN"):
            more = {"nonlinearity": shape.mode.removeprefix("RNN_").lower()}
        first = cast(nn.Linear, cast(Direction, module.layers[0]).input).weight
        closed: nn.RNNBase = kinds.get(shape.mode, nn.RNN)(
            shape.input_size,
            shape.hidden_size,
            module.num_layers,
            bias=shape.bias,
            batch_first=shape.batch_first,
            dropout=shape.dropout,
            bidirectional=module.bidirectional,
            device="meta",
            dtype=first.dtype,
            **more,
        )
        for end, parts in (("", module.layers), ("_reverse", module.reversed)):
            for at, part in enumerate(parts):
                _take(closed, f"_l{at}{end}", cast(Direction, part))
        closed.flatten_parameters()
        return closed.train(module.training)

    def note(self, module: nn.Module) -> str | None:
        """What its factors save."""
        return (
            "factors of its recurrent weights save bytes and no time, because torch's kernel "
            "multiplies with their product; those of its input weights save both"
        )


def _direction(old: nn.RNNBase, end: str, backwards: bool) -> Direction:
    layers = dict[str, nn.Module]()
    for name, short in _LAYERS.items():
        weight = getattr(old, f"weight_{short}{end}", None)
        bias = getattr(old, f"bias_{short}{end}", None)
        if isinstance(weight, Tensor):
            layers[name] = linear_of(weight, bias, old)
    return Direction(old.mode, backwards, layers)


def _all_whole(module: Recurrent) -> bool:
    shape = module.shape
    state, gates = shape.proj_size or shape.hidden_size, _GATES[shape.mode] * shape.hidden_size
    for parts in (module.layers, module.reversed):
        width = shape.input_size
        for part in parts:
            layer = cast(Direction, part)
            wholes = [is_whole(layer.input, width, gates), is_whole(layer.recurrent, state, gates)]
            if layer.projection is not None:
                wholes.append(is_whole(layer.projection, shape.hidden_size, state))
            if not all(wholes):
                return False
            width = state * (1 + module.bidirectional)
    return True


def _take(closed: nn.RNNBase, end: str, part: Direction) -> None:
    for name, short in _LAYERS.items():
        layer = getattr(part, name)
        if layer is not None:
            setattr(closed, f"weight_{short}{end}", layer.weight)
            if layer.bias is not None:
                setattr(closed, f"bias_{short}{end}", layer.bias)
