"""``nn.MultiheadAttention``: query, key, value and output are layers like others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast, final

import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from eckart.network.twins.attention import Attention
from eckart.network.twins.plain import is_hooked, is_whole, linear_of, parameter

_PARTS = ("query", "key", "value")


@final
class AttentionTwin:
    """Packed weights or not, of any widths; also a subclass that only inherits."""

    name = "attention"

    def applies(self, module: nn.Module) -> bool:
        """``forward`` is torch's own, and nobody listens to the module or its output layer."""
        if not isinstance(module, nn.MultiheadAttention):
            return False
        out, own = module.out_proj, {"out_proj"}
        return (
            type(module).forward is nn.MultiheadAttention.forward
            and type(out) in (NonDynamicallyQuantizableLinear, nn.Linear)
            and set(module._modules) == own
            and not (is_hooked(module) or is_hooked(out))
            and all(p.is_floating_point() for p in module.parameters())
        )

    def open(self, module: nn.Module) -> Attention:
        """The three parts of a packed weight are views of it."""
        old = cast(nn.MultiheadAttention, module)
        biases = (None,) * 3 if old.in_proj_bias is None else _thirds(old.in_proj_bias)
        layers: dict[str, nn.Module] = {
            name: linear_of(weight, bias, old)
            for name, weight, bias in zip(_PARTS, _weights(old), biases, strict=True)
        }
        layers["out"] = linear_of(old.out_proj.weight, old.out_proj.bias, old.out_proj)
        bias_kv = cast(tuple[nn.Parameter, nn.Parameter], (old.bias_k, old.bias_v))
        more = None if old.bias_k is None else bias_kv
        built = Attention(
            layers, old.num_heads, old.dropout, old.batch_first, old.add_zero_attn, more
        )
        built.training = old.training
        return built

    def close(self, module: nn.Module) -> nn.Module | None:
        """``nn.MultiheadAttention`` again, packed where its three inputs are of one width."""
        if not isinstance(module, Attention):
            return None
        *parts, out = (getattr(module, name) for name in (*_PARTS, "out"))
        if any(type(layer) is not nn.Linear for layer in (*parts, out)):
            return None
        width = len(out.weight)
        wholes = [is_whole(layer, layer.weight.shape[1], width) for layer in (*parts, out)]
        return _packed(module, parts, out) if all(wholes) else None

    def note(self, module: nn.Module) -> str | None:
        """Nothing: the weights are those of the module."""
        return None


def _weights(old: nn.MultiheadAttention) -> tuple[Tensor, ...]:
    if old.in_proj_weight is not None:
        return _thirds(old.in_proj_weight)
    return cast(Tensor, old.q_proj_weight), cast(Tensor, old.k_proj_weight), old.v_proj_weight


def _thirds(packed: Tensor) -> tuple[Tensor, ...]:
    return packed.detach().chunk(3)


@torch.no_grad()
def _packed(module: Attention, parts: Sequence[nn.Linear], out: nn.Linear) -> nn.MultiheadAttention:
    """The module that computes with these layers."""
    width, trained = len(out.weight), out.weight.requires_grad
    biased = out.bias is not None
    closed = nn.MultiheadAttention(
        width,
        module.num_heads,
        module.dropout,
        biased,
        module.bias_k is not None,
        module.add_zero_attn,
        parts[1].weight.shape[1],
        parts[2].weight.shape[1],
        module.batch_first,
        "meta",
        out.weight.dtype,
    )
    weights = [part.weight for part in parts]
    if closed.in_proj_weight is not None:
        closed.in_proj_weight = parameter(torch.cat(weights).detach(), trained)
    else:
        closed.q_proj_weight, closed.k_proj_weight, closed.v_proj_weight = weights
    if biased:
        closed.in_proj_bias = parameter(torch.cat([p.bias for p in parts]).detach(), trained)
        closed.out_proj.bias = out.bias
    closed.out_proj.weight = out.weight
    closed.bias_k, closed.bias_v = module.bias_k, module.bias_v
    return closed.train(module.training)
