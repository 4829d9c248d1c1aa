"""Attention made of four plain layers."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@final
class Attention(nn.Module):
    """What ``nn.MultiheadAttention`` computes, as four layers and the attention between them.

    The layers see their inputs in the layout that the caller gave. Torch's encoders find no packed
    weight here, so they take no fused path around it.

    Attributes:
        query, key, value: make queries, keys and values of the three inputs.
        out: makes the output of all heads together.
        bias_k, bias_v: one more key and value of every sequence, or None.
    """

    in_proj_weight = in_proj_bias = None
    _qkv_same_embed_dim = False

    def __init__(
        self,
        layers: dict[str, nn.Module],
        num_heads: int,
        dropout: float,
        batch_first: bool,
        add_zero_attn: bool = False,
        bias_kv: tuple[nn.Parameter, nn.Parameter] | None = None,
    ) -> None:
        """Put together from its layers, by name."""
        super().__init__()
        self.query, self.key = layers["query"], layers["key"]
        self.value, self.out = layers["value"], layers["out"]
        self.num_heads, self.dropout, self.batch_first = num_heads, dropout, batch_first
        self.add_zero_attn = add_zero_attn
        self.bias_k: nn.Parameter | None = None if bias_kv is None else bias_kv[0]
        self.bias_v: nn.Parameter | None = None if bias_kv is None else bias_kv[1]

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As ``nn.MultiheadAttention``: the output, and the weights of the attention or None."""
        if is_causal and attn_mask is None:
            raise RuntimeError("is_causal says what attn_mask is: give attn_mask as well")
        batched = query.dim() == 3
        if key_padding_mask is not None and not batched:
            key_padding_mask = key_padding_mask[None]
        axis = 0 if self.batch_first or not batched else 1
        q = self._heads(self.query(query), batched, axis)
        k = self._more(self._heads(self.key(key), batched, axis), self.bias_k)
        v = self._more(self._heads(self.value(value), batched, axis), self.bias_v)
        if is_causal and key_padding_mask is None and not need_weights:
            attn_mask = None
        else:
            is_causal = False
        mask = self._mask(attn_mask, key_padding_mask, q, k)
        dropped = self.dropout if self.training else 0.0
        if need_weights:
            weights = _weights(q, k, mask, dropped)
            mixed: Tensor = weights @ v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, mask, dropped, is_causal)
        mixed = mixed.transpose(1, 2).flatten(2)
        mixed = mixed.transpose(0, axis) if batched else mixed[0]
        output: Tensor = self.out(mixed)
        if self.training and batched and axis == 0:  # in torch's layout, so dropout draws alike
            output = output.transpose(0, 1).contiguous().transpose(0, 1)
        if not need_weights:
            return output, None
        weights = weights.mean(1) if average_attn_weights else weights
        return output, weights if batched else weights[0]

    def _heads(self, x: Tensor, batched: bool, axis: int) -> Tensor:
        """Of shape (examples, heads, positions, width of a head)."""
        x = x.transpose(0, axis) if batched else x[None]
        heads: Tensor = x.unflatten(-1, (self.num_heads, -1))
        return heads.transpose(1, 2)

    def _more(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """With the positions that are not of the inputs: that of a bias, and one of zeros."""
        if bias is not None:
            own = bias.reshape(1, self.num_heads, 1, -1)
            x = torch.cat([x, own.expand(len(x), -1, -1, -1)], 2)
        return F.pad(x, (0, 0, 0, 1)) if self.add_zero_attn else x

    def _mask(
        self, attending: Tensor | None, padding: Tensor | None, q: Tensor, k: Tensor
    ) -> Tensor | None:
        """What is added before the softmax: both masks, zero at positions of our own."""
        added = None
        if attending is not None:
            added = _as_numbers(attending, q)
            three = attending.dim() == 3
            added = added.unflatten(0, (len(q), self.num_heads)) if three else added[None, None]
        if padding is not None:
            rows = _as_numbers(padding, q)[:, None, None]
            added = rows if added is None else added + rows
        return None if added is None else F.pad(added, (0, k.shape[2] - added.shape[-1]))


def _weights(q: Tensor, k: Tensor, mask: Tensor | None, dropped: float) -> Tensor:
    scores = (q * math.sqrt(1.0 / q.shape[-1])) @ k.transpose(-2, -1)
    weights = (scores if mask is None else scores + mask).softmax(-1)
    return F.dropout(weights, dropped) if dropped > 0 else weights


def _as_numbers(mask: Tensor, like: Tensor) -> Tensor:
    """A mask to add: a true entry of a Boolean one is what must not be attended to."""
    if mask.dtype != torch.bool:
        return mask.to(like.dtype)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill_(mask, -math.inf)
