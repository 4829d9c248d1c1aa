"""Moments to curves: for every site, every option with its predicted loss."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from statistics import median

from torch import nn

from eckart.costs import COSTS
from eckart.errors import InputError
from eckart.methods import (
    DAMPING,
    fitting_methods,
    methods_named,
    selection_named,
)
from eckart.metrics import AUTO, Probe
from eckart.moments import Moments
from eckart.network.channel_groups import Coupling, coupling
from eckart.network.identity import check_same_network
from eckart.network.survey import matching
from eckart.records import ChannelGroup, Curve, Curves, Form, Option, Site
from eckart.running.progress import tracked
from eckart.stages.curves.coherence import coherent
from eckart.stages.curves.group_curves import group_curve
from eckart.stages.curves.layer_options import narrow_options, whole_options
from eckart.stages.curves.problems import Bench
from eckart.stages.curves.rescaling import rescaled


def curves(
    model: nn.Module,
    moments: Moments,
    *,
    methods: str | Iterable[str] = AUTO,
    multiple: int = 1,
    least_rank: int = 1,
    dense: Iterable[str] = (),
    damping: float = DAMPING,
    rescale: bool | Probe = False,
    progress: bool | None = None,
) -> Curves:
    """Predict the loss ``½ tr(G ΔW A ΔWᵀ)`` of every option of every layer.

    ``A`` is the mean of ``x xᵀ`` over a layer's input rows, ``G`` the sum of ``g gᵀ`` over its
    output rows per example, or per predicted token for language models, so the loss is per example
    or token, in the unit of the output metric: half squared logits or similarities, nats with the
    Fisher and for next tokens.

    Args:
        model: the network that the moments were gathered on.
        moments: from ``calibrate``.
        methods: names of the methods to offer; ``"auto"`` for those of
            ``eckart.methods.fitting_methods``.
        multiple: offer only ranks that are multiples of this (8, say, for a hardware's sake).
        least_rank: offer no rank below.
        dense: names or patterns of layers to leave dense.
        damping: added to A and G, relative to their mean diagonal, or the noise of their products
            where that is more; losses are in that metric.
        rescale: multiply each layer's losses by what truncating it at one rank really changes over
            what is predicted, measured on the sample that the moments carry, see
            ``eckart.stages.curves.rescaling``. A probe is what that is measured by; True looks it
            up by the name in the moments.
        progress: show a bar; None shows it on a terminal.

    Returns:
        The options that are cheaper than dense in at least one cost, and dense itself.

    Raises:
        MismatchError: the moments belong to another network.
        InputError: an unknown method, or a grid or damping out of range.

    Cost: per layer and method one decomposition, O(in² out + out³) in float64; ``spatial`` two of
        O((kw out)³), ``cp`` seven searches. They stay with the moments, for ``apply``, in up to as
        many bytes as those take. With ``rescale`` one more for each, and forward passes of about as
        many examples as the calibration had, or of one for each layer where those are more.

    Source: Eckart and Young 1936, in the metric of K-FAC (1503.05671).

    Example:
        >>> import torch, eckart
        >>> network = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Linear(30, 4))
        >>> moments = eckart.calibrate(network, [torch.randn(64, 20)])
        >>> print(eckart.curves(network, moments))
        196 options at 2 sites, 1 group of channels; 0 layers stay dense
    """
    if multiple < 1 or least_rank < 1 or not damping > 0:
        raise InputError(
            f"multiple={multiple}, least_rank={least_rank}, damping={damping}: ranks start at 1 "
            "and the damping is positive"
        )
    check_same_network(model, moments.fingerprint, "these moments")
    methods = fitting_methods(model, methods)
    offered, selection = methods_named(methods), selection_named(methods)
    kept = matching(dense, [*moments.specs, *moments.skipped])
    reasons = {**moments.skipped, **dict.fromkeys(kept, "asked to stay dense")}
    specs = {name: spec for name, spec in moments.specs.items() if name not in kept}
    bench = Bench(model, moments, damping)
    coupled = Coupling((), {})
    if selection is not None:
        coupled = coupling(model, moments.example, dense=reasons)
    groups = [
        group_curve(bench, group, selection, multiple, not _between(group, coupled.groups))
        for group in tracked(coupled.groups, "ranking channels", progress, len(coupled.groups))
        if selection is not None
    ]
    whole = {
        name: whole_options(bench, spec, offered)
        for name, spec in tracked(specs.items(), "predicting losses", progress, len(specs))
    }
    groups = coherent(bench, groups, whole, progress)
    ratios = dict.fromkeys(whole, 1.0)
    if rescale:
        ratios = rescaled(bench, whole, None if rescale is True else rescale, progress)
        usual = median(list(ratios.values()) or [1.0])  # of the factors they were held against
        groups = [group.times(usual) for group in groups]
    found, allowed = [], partial(_on_grid, multiple=multiple, least_rank=least_rank)
    for name, spec in tracked(specs.items(), "… with fewer channels", progress, len(specs)):
        options = [o for o in whole[name] if allowed(o.form)]
        options += narrow_options(bench, spec, offered, groups, allowed)
        options = [replace(o, loss=o.loss * ratios[name]) for o in options]
        found.append(Curve(Site(name, (name,)), (*options, Option("dense", spec.dense, 0.0))))
    return Curves(
        curves=tuple(found),
        specs=specs,
        totals=_totals(moments),
        dense=reasons,
        fingerprint=moments.fingerprint,
        damping=damping,
        moments=moments.digest,
        groups=tuple(groups),
        whole=coupled.refused,
    )


def _between(group: ChannelGroup, groups: Sequence[ChannelGroup]) -> bool:
    """Whether some layer stands between this group and another: it has options for every pair."""
    others = [other for other in groups if other is not group]
    return any(
        set(group.readers) & set(other.writers) or set(group.writers) & set(other.readers)
        for other in others
    )


def _totals(moments: Moments) -> dict[str, int]:
    """Cost of the whole network; for costs that only layers know, the sum over the layers."""
    specs = moments.specs.values()
    summed = {name: sum(c.of(s, s.dense) for s in specs) for name, c in COSTS.items()}
    return {**summed, **moments.model_costs}


def _on_grid(form: Form, multiple: int, least_rank: int) -> bool:
    return all(rank >= least_rank and rank % multiple == 0 for rank in form.ranks)
