"""Moments to curves: for every site, every option with its predicted loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from torch import nn
from typing_extensions import Unpack

from eckart.costs import COSTS, cost_named
from eckart.methods import (
    methods_named,
    offered_methods,
    selection_named,
)
from eckart.moments import Moments
from eckart.moments.scarcity import few_rows
from eckart.network.channel_groups import Coupling, coupling
from eckart.network.identity import check_same_network
from eckart.network.survey import matching
from eckart.network.twins import notes, opened
from eckart.network.wrappers import network_in
from eckart.records import ChannelGroup, Curve, Curves, Offer, Option, Site
from eckart.records.budgets import MS
from eckart.records.offer import AUTO, Allowed
from eckart.records.offered import ROUNDING
from eckart.running.arguments import check_kind
from eckart.running.progress import tracked
from eckart.stages.curves.codes import coded_options
from eckart.stages.curves.group_curves import group_curve
from eckart.stages.curves.layer_options import narrow_options, useful_methods, whole_options
from eckart.stages.curves.measured import coherent, rescaled
from eckart.stages.curves.parts import costs_of_parts
from eckart.stages.curves.problems import Bench


def curves(
    model: nn.Module,
    moments: Moments,
    *,
    offer: Offer | None = None,
    progress: bool | None = None,
    **allowed: Unpack[Allowed],
) -> Curves:
    """Predict the loss ``½ tr(G ΔW A ΔWᵀ)`` of every option of every layer.

    ``A`` is the mean of ``x xᵀ`` over a layer's input rows, ``G`` the sum of ``g gᵀ`` over its
    output rows per example, or per predicted token for language models, so the loss is per example
    or token, in the unit of the output metric: half squared logits or similarities, nats with the
    Fisher and for next tokens.

    Args:
        model: the network that the moments were gathered on.
        moments: from ``calibrate``.
        offer: what may be done to which layers, and how losses are predicted.
        progress: show a bar; None shows it on a terminal.
        **allowed: fields of ``Offer``, in place of one: ``methods=["weighted_svd"]``.

    Returns:
        The options that are cheaper than dense in at least one cost, and dense itself.

    Raises:
        MismatchError: the moments belong to another network.
        InputError: an unknown method, or a grid or damping out of range.

    Cost: per layer and method one decomposition, O(in² out + out³) in float64; ``spatial`` two of
        O((kw out)³), ``tucker2`` sixteen more of O(out³), ``cp`` some dozens of products of
        O(rank · in²) per rank. What they give is handed on in the curves, for ``apply``, in up to
        as many bytes as the moments take. With ``rescale`` forward passes of about as many examples
        as the calibration had, or of one for each layer where those are more.

    Source: Eckart and Young 1936, in the metric of K-FAC (1503.05671).

    Example:
        >>> import torch, eckart
        >>> network = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Linear(30, 4))
        >>> moments = eckart.calibrate(network, [torch.randn(64, 20)])
        >>> print(eckart.curves(network, moments, limits="params"))
        196 options at 2 sites, 1 group of channels; 0 layers stay dense
    """
    offer = Offer.of(offer, allowed)
    model = network_in(model)
    check_kind("moments", moments, Moments)
    check_same_network(model, moments.fingerprint, "these moments")
    said, model = notes(model), opened(model)
    limits = _limits(offer)
    methods = offered_methods(model, offer.methods, limits)
    offered, selection = methods_named(methods.methods), selection_named(methods.methods)
    kept = matching(offer.dense, [*moments.specs, *moments.skipped])
    reasons = {**moments.skipped, **dict.fromkeys(kept, "asked to stay dense")}
    specs = {name: spec for name, spec in moments.specs.items() if name not in kept}
    bench = Bench.of(model, moments, offer, specs)
    coupled = Coupling((), {})
    if selection is not None:
        coupled = coupling(
            model,
            moments.example,
            dense=reasons,
            sample=moments.sample,
            whole=moments.whole_batches,
            calls=moments.calls,
        )
    groups = [
        group_curve(bench, group, selection, offer.multiple, not _between(group, coupled.groups))
        for group in tracked(coupled.groups, "ranking channels", progress, len(coupled.groups))
        if selection is not None
    ]
    whole = {
        name: whole_options(bench, spec, offered)
        for name, spec in tracked(specs.items(), "predicting losses", progress, len(specs))
    }
    probe = None if isinstance(offer.rescale, bool) else offer.rescale
    groups = coherent(bench, groups, whole, probe, progress)
    ratios = dict.fromkeys(whole, 1.0)
    if offer.rescale:
        ratios = rescaled(bench, whole, probe, progress)
        usual = median(list(ratios.values()) or [1.0])  # of the factors they were held against
        groups = [group.times(usual) for group in groups]
    widths, found = offer.widths if ROUNDING in methods.methods else (), []
    of_parts = widths if limits is not None else ()  # they take as long as all the rest
    for name, spec in tracked(specs.items(), "… with fewer channels", progress, len(specs)):
        options = [o for o in whole[name] if offer.allows(o.form)]
        if widths:
            options += coded_options(bench, spec, options if of_parts else [], widths)
        useful = useful_methods(offered, whole[name], methods.only_for if limits is None else ())
        options += narrow_options(bench, spec, useful, groups, offer.allows, of_parts)
        options = [replace(o, loss=o.loss * ratios[name]) for o in options]
        found.append(Curve(Site(name, (name,)), (*options, Option("dense", spec.dense, 0.0))))
    return Curves(
        curves=tuple(found),
        specs=specs,
        totals=_totals(moments),
        dense=reasons,
        fingerprint=moments.fingerprint,
        damping=bench.damping,
        shrunk=bench.shrunk,
        scarce={name: why for name, why in few_rows(moments).items() if name in specs},
        moments=moments.digest,
        groups=tuple(groups),
        whole=coupled.refused,
        parts=costs_of_parts(model, moments, {name for g in groups for name in g.group.members}),
        states=bench.cache.states,
        notes=said,
        offered=methods,
    )


def _limits(offer: Offer) -> tuple[str, ...] | None:
    """The costs that will be limited, if that is known.

    Raises:
        InputError: an unknown cost.
    """
    if offer.limits == AUTO:
        return None
    return tuple(name if name == MS else cost_named(name).name for name in offer.limits)


def _between(group: ChannelGroup, groups: Sequence[ChannelGroup]) -> bool:
    """Whether some layer stands between this group and another: it has options for every pair."""
    others = [other for other in groups if other is not group]
    return any(
        set(group.readers) & set(other.writers) or set(group.writers) & set(other.readers)
        for other in others
    )


def _totals(moments: Moments) -> dict[str, float]:
    """Cost of the whole network; for costs that only layers know, the sum over the layers."""
    specs = moments.specs.values()
    summed = {name: sum(c.of(s, s.dense) for s in specs) for name, c in COSTS.items()}
    known = {name: cost for name, cost in moments.model_costs.items() if name in COSTS}
    return {**summed, **known}
