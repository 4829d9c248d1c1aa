"""Experts whose weights are stacked in one parameter, as plain layers of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast, final

import torch
from torch import Tensor, nn

_NAMES = (("top_k_index", "router_indices"), ("top_k_weights", "routing_weights"))
"""Of the experts of each token, and of their weights."""


@final
class Expert(nn.Module):
    """One expert: two layers around an activation, or three around a gate.

    Attributes:
        gate_proj: makes what opens the gate, or None where there is no gate.
        up_proj: makes what goes through it.
        down_proj: makes the output.
    """

    def __init__(self, layers: dict[str, nn.Module]) -> None:
        """Put together from its layers, by name."""
        super().__init__()
        self.gate_proj: nn.Module | None = layers.get("gate_proj")
        self.up_proj, self.down_proj = layers["up_proj"], layers["down_proj"]

    def forward(self, x: Tensor, between: Callable[..., Tensor]) -> Tensor:
        """The layers, with what the mixture puts between them."""
        up = self.up_proj(x)
        inner = between(up) if self.gate_proj is None else between(self.gate_proj(x), up)
        y: Tensor = self.down_proj(inner)
        return y


class Experts(nn.Module):
    """What stands above a class of stacked experts, so that every expert has layers of its own.

    The experts are children named ``"0"``, ``"1"`` and so on. Each is called once, with the tokens
    that were routed to it in their order, and not at all if there are none.
    """

    def forward(self, hidden_states: Tensor, *routing: Tensor, **named: Tensor) -> Tensor:
        """As the class below: for each token the weighted sum over its experts.

        Args:
            hidden_states: of shape (tokens, width).
            *routing: the experts of each token, of shape (tokens, k), and their weights. An index
                that is no expert's adds nothing.
            **named: the same under the names that the class below gives them.
        """
        index, weights = _routing(routing, named)
        if torch.compiler.is_exporting():
            return self._everywhere(hidden_states, index, weights)
        choices = index.shape[-1]
        chosen, order = index.reshape(-1).sort(stable=True)
        found = torch.bincount(chosen, minlength=self.experts)[: self.experts].tolist()
        rest = len(order) - sum(found)
        *parts, outside = hidden_states[order // choices].split([*found, rest])
        outputs = [self._expert(at, x) for at, x in enumerate(parts) if len(x)]
        outputs += [torch.zeros_like(outside)] if rest or not outputs else []
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        each: Tensor = torch.cat(outputs)[back].unflatten(0, index.shape)
        return (each * weights[..., None]).sum(1).to(hidden_states.dtype)

    def _everywhere(self, x: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        """The same with every expert for every token, because a graph has no lists of tokens."""
        summed = torch.zeros_like(x)
        for at in range(self.experts):
            weight = torch.where(index == at, weights, 0).sum(-1, keepdim=True)
            summed = summed + self._expert(at, x) * weight
        return summed.to(x.dtype)

    def choices_in(self, hidden_states: Tensor, *routing: Tensor, **named: Tensor) -> int:
        """To how many experts each token goes in a call with these arguments."""
        return _routing(routing, named)[0].shape[-1]

    def layers(self) -> Iterator[tuple[str, nn.Module]]:
        """The layers of all experts, by their names in the mixture."""
        for at in range(self.experts):
            for name, layer in self.expert(at).named_children():
                yield f"{at}.{name}", layer

    @property
    def experts(self) -> int:
        """How many there are."""
        return cast(int, self.num_experts)

    def expert(self, at: int) -> Expert:
        """One of them."""
        return cast(Expert, self._modules[str(at)])

    def _expert(self, at: int, x: Tensor) -> Tensor:
        y: Tensor = self.expert(at)(x, self._between)
        return self.post_expert_norm(y) if self.has_post_expert_norm else y  # type: ignore[operator]

    def _between(self, *inner: Tensor) -> Tensor:
        """The class's own gate, which reads gate and up together as the stacked layer gave them."""
        if len(inner) == 1:
            return cast(Tensor, self.act_fn(inner[0]))  # type: ignore[operator]
        return cast(Tensor, self._apply_gate(side_by_side(inner, bool(self.is_concatenated))))  # type: ignore[operator]

    def __reduce_ex__(self, protocol: Any) -> tuple[Callable[..., Any], tuple[Any, ...], Any]:
        """By the class below, because one that is made as needed cannot be found by its name."""
        return blank, (type(self).__bases__[1],), self.__dict__


def _routing(given: Sequence[Tensor], named: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Indices and weights, by position or under one of their names."""
    known = [n for names in _NAMES for n in names if n in named]
    index, weights = [*given, *(named[n] for n in known)]
    return index, weights


def side_by_side(parts: Sequence[Tensor], one_after_the_other: bool, axis: int = -1) -> Tensor:
    """Gate and up along an axis: the whole gate first, or taking turns."""
    if one_after_the_other:
        return torch.cat(list(parts), axis)
    at = axis % parts[0].dim()
    return torch.stack(list(parts), at + 1).flatten(at, at + 1)


def experts_class(kind: type[nn.Module]) -> type[nn.Module]:
    """A subclass whose experts are modules."""
    named = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind.__name__, (Experts, kind), named)


def blank(kind: type[nn.Module]) -> nn.Module:
    """An opened module of a class, without its state."""
    made = experts_class(kind)
    return made.__new__(made)
