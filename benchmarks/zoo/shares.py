"""How much of a network is in layers that take part."""

from collections import Counter
from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from benchmarks.measuring.results_file import Row
from eckart.moments import Moments
from eckart.network.twins import opened
from eckart.network.wrappers import unwrapped

TABLES = (nn.Embedding, nn.EmbeddingBag)
REACHED = "share of the reached"
_HEADS = ("classifier", "fc", "head", "heads", "lm_head", "score", "logits")


def shares(model: nn.Module, moments: Moments) -> Row:
    """Fractions of the parameters, and the weights that were left out by reason.

    Weights are parameters of two axes or more: in thin networks norms and biases count for more
    than in real ones. Tables, heads and experts are those of `set_apart`, and what is reached is
    what calibration used.
    """
    model = opened(unwrapped(model))
    sizes = {id(p): p.numel() for p in model.parameters()}
    matrices = {id(p) for p in model.parameters() if p.dim() > 1}
    inside = {id(p) for name in moments.specs for p in _own(model, name)}
    apart = {id(p) for p in set_apart(model)}

    named = dict(model.named_parameters())
    idle = {id(named[name]) for name in moments.unreached if name in named}

    def total(ids: set[int]) -> int:
        return sum(sizes[i] for i in ids & sizes.keys())

    rest = matrices - apart
    reached = rest - idle
    return {
        "params": sum(sizes.values()),
        "share": round(total(inside) / max(1, sum(sizes.values())), 4),
        "share of weights": round(total(inside & matrices) / max(1, total(matrices)), 4),
        "share of the rest": round(total(inside & rest) / total(rest), 4) if rest else 1.0,
        REACHED: round(total(inside & reached) / total(reached), 4) if reached else 1.0,
        "left out": left_out(model, moments.skipped),
    }


def _own(model: nn.Module, name: str) -> Iterator[Tensor]:
    """The parameters of a layer."""
    yield from model.get_submodule(name).parameters()


def set_apart(model: nn.Module) -> Iterator[Tensor]:
    """Parameters of embeddings, of heads, and of experts that are one tensor of three axes."""
    for name, module in model.named_modules():
        own = list(module.parameters(recurse=False))
        if isinstance(module, TABLES) or _is_head(model, name):
            yield from own
        elif any(word in type(module).__name__ for word in ("Expert", "Moe")):
            yield from (p for p in own if p.dim() == 3)


def _is_head(model: nn.Module, name: str) -> bool:
    """Whether a layer is the last one before the classes or the vocabulary."""
    first, _, rest = name.partition(".")
    return first in _HEADS and (not rest or rest.isdigit())


def left_out(model: nn.Module, skipped: Mapping[str, str]) -> dict[str, int]:
    """Weights by the reason why they are left out, most first; names in a reason do not count."""
    counts: Counter[str] = Counter()
    for name, reason in skipped.items():
        module = model.get_submodule(name)
        counts[reason] += sum(p.numel() for p in module.parameters(recurse=False) if p.dim() > 1)
    return dict(counts.most_common())
