"""Numbers that modules of attention keep of their heads, and split by."""

from __future__ import annotations

from torch import nn

from eckart.layers import piece_of

HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "heads")
"""The names that modules give to the number of heads of queries."""
_COUNTS = (*HEADS, "num_key_value_heads")
_WIDTHS = ("split_size", "all_head_size", "inner_dim", "attn_dim")


def counts_after(model: nn.Module, layer: str, inputs: int) -> dict[str, int]:
    """What a module says of its heads, as it must be when a layer in it reads fewer channels.

    Args:
        model: the network, where the layer has all of its channels.
        layer: the last one of an attention module.
        inputs: how many channels it is left with.

    Returns:
        The new values of attributes of the module that holds the layer; nothing if it has none.
    """
    whole = piece_of(model.get_submodule(layer)).inputs
    holder = vars(model.get_submodule(layer.rpartition(".")[0]))
    numbers = {name: holder.get(name) for name in (*_COUNTS, *_WIDTHS)}
    known = {k: n for k, n in numbers.items() if isinstance(n, int) and not isinstance(n, bool)}
    heads = [n for name, n in known.items() if name in _COUNTS and n > 0]
    if inputs == whole or not heads or whole % max(heads):
        return {}
    fitting = {k: n for k, n in known.items() if k in _COUNTS or n == whole}
    exact = all(n * inputs % whole == 0 for n in fitting.values())
    return {name: n * inputs // whole for name, n in fitting.items()} if exact else {}
