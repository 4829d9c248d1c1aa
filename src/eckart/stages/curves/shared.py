"""The options of layers that read one input and may share a factor."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import replace
from itertools import takewhile

from eckart.costs import COSTS
from eckart.methods import Sharing
from eckart.records import Form, LayerSpec, Option, SharedCurve, Site
from eckart.stages.curves.bench import Bench


def shared_sites(specs: Iterable[LayerSpec], apart: Container[str]) -> list[tuple[LayerSpec, ...]]:
    """Layers that read one input at the same positions, where there are several.

    They are alike but for their outputs and bias.

    Args:
        specs: the layers, in the order of the network.
        apart: layers that share with nobody: those that may lose channels.
    """
    found = defaultdict(list)
    for spec in specs:
        if spec.name not in apart:
            alike = replace(spec.piece, outputs=spec.piece.groups, bias=False)
            found[spec.input, spec.sizes, spec.itemsize, spec.type, alike].append(spec)
    return [tuple(site) for site in found.values() if len(site) > 1]


def shared_curve(
    bench: Bench,
    site: Sequence[LayerSpec],
    sharings: Sequence[Sharing],
    allowed: Callable[[Form], bool],
) -> SharedCurve:
    """What the ways to share offer there that costs less than all of the layers as they are."""
    names = tuple(spec.name for spec in site)
    fitting = [sharing for sharing in sharings if sharing.applies([spec.piece for spec in site])]
    problems = {name: bench.problem(name) for name in names} if fitting else {}
    options = [
        tuple(Option(sharing.name, form, loss) for form, loss in choice.values())
        for sharing in fitting
        for choice in sharing.losses(problems)
    ]
    least = {cost: sum(cost.of(s, s.dense) for s in site) for cost in COSTS.values()}

    def is_cheaper(together: Sequence[Option]) -> bool:
        pairs = list(zip(site, together, strict=True))
        return any(sum(c.of(s, o.form) for s, o in pairs) < most for c, most in least.items())

    kept = (t for t in options if all(allowed(o.form) for o in t) and is_cheaper(t))
    return SharedCurve(Site(_joint_name(names), names), tuple(kept))


def _joint_name(names: Sequence[str]) -> str:
    """As in ``"block.attention.(query, key)"``."""
    paths = [name.split(".") for name in names]
    levels = zip(*(path[:-1] for path in paths), strict=False)
    same = [level[0] for level in takewhile(lambda level: len(set(level)) == 1, levels)]
    ends = ", ".join(".".join(path[len(same) :]) for path in paths)
    return ".".join([*same, f"({ends})"])
