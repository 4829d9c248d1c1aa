"""Layers that stay dense because of the module around them."""

from __future__ import annotations

from torch import nn

from eckart.layers.factored import factors_in

_ATTENTION = (
    "this nn.MultiheadAttention {}, and it cannot be opened: it has hooks or parts of its own, "
    "shares weights, is the whole network, or the network cannot be copied"
)
_ENCODER = "torch's encoder reads its weight itself, because its attention cannot be opened"
_FACTOR = "it is already a factor of {!r}; merge the network to begin again"
_HEAD = "it is the head over the vocabulary; to include it, name it in layers=, as layers='*' does"


def reserved(model: nn.Module) -> dict[str, str]:
    """The layers that belong to another module, by name, with the reason.

    They are the factors of factored layers; and where torch's attention was not opened, its layers
    and the two linear layers after it in a torch encoder layer. Torch's fused path reads the
    weights of the last two itself in evaluation.

    Args:
        model: the opened network.
    """
    reasons = {}
    for name, module in model.named_modules():
        prefix = f"{name}." if name else ""
        if isinstance(module, nn.MultiheadAttention):
            reasons[name] = _ATTENTION.format("multiplies with its weights itself")
            reasons[f"{prefix}out_proj"] = _ATTENTION.format("reads this weight")
        elif isinstance(module, nn.TransformerEncoderLayer) and _may_fuse(module):
            reasons |= {f"{prefix}{layer}": _ENCODER for layer in ("linear1", "linear2")}
    return reasons | {name: _FACTOR.format(whole) for name, whole in factors_in(model).items()}


def _may_fuse(layer: nn.TransformerEncoderLayer) -> bool:
    """Whether torch may take the fused path; its other conditions can change with the data."""
    attention = layer.self_attn
    packed = isinstance(attention, nn.MultiheadAttention) and attention.batch_first
    return bool(packed and layer.activation_relu_or_gelu)


def heads(model: nn.Module) -> dict[str, str]:
    """The heads of ``transformers`` language models, which stay dense unless they are named."""
    found = set()
    for module in model.modules():
        head = getattr(module, "get_output_embeddings", lambda: None)()
        found.add(id(head))
    return {name: _HEAD for name, module in model.named_modules() if id(module) in found}
