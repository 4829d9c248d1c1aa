"""Moments to curves: for every site, every option with its predicted loss."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import median

from torch import nn
from typing_extensions import Unpack

from eckart.costs import cost_named, costs_told_by
from eckart.errors import MismatchError
from eckart.methods import offered_methods
from eckart.moments import Moments
from eckart.moments.scarcity import few_rows
from eckart.network.identity import check_same_network, check_whole
from eckart.network.survey import matching
from eckart.network.twins import notes, opened
from eckart.network.wrappers import network_in
from eckart.records import Curve, Curves, Offer, Option, Site, States
from eckart.records.budgets import MS
from eckart.records.offer import AUTO, Allowed
from eckart.records.offered import ASKED, EIGHT_BITS
from eckart.running.arguments import check_kind
from eckart.stages.curves.eight_bits import activation_losses
from eckart.stages.curves.layer_options import rounded_options
from eckart.stages.curves.measured import rescaled
from eckart.stages.curves.parts import costs_of_parts
from eckart.stages.curves.predicting import Predicting
from eckart.stages.curves.problems import Bench
from eckart.tasks import Workers, checked_workers


def curves(
    model: nn.Module,
    moments: Moments,
    *,
    offer: Offer | None = None,
    workers: Workers = 1,
    workspace: str | Path | None = None,
    reuse: Curves | None = None,
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
        workers: who works: a number of local processes (Linux) with one thread each, or ``"ray"``,
            the processors of a Ray cluster. Each layer and each group of channels is a task that
            depends on its inputs alone, so the result is that of one process with one thread, to
            the bit.
        workspace: a folder that keeps the result of every task, if the moments are in memory;
            moments in a workspace have their own. A run that was killed goes on from there, and
            another call on the same moments takes from there what it has in common.
        reuse: earlier curves of the same moments, whose results are used again where they do not
            depend on what was changed: other limits, more methods.
        progress: show a bar, of all workers together; None shows it on a terminal.
        **allowed: fields of ``Offer``, in place of one: ``methods=["weighted_svd"]``.

    Returns:
        The options that are cheaper than dense in at least one cost, and dense itself.

    Raises:
        MismatchError: the moments, or the curves to reuse, belong to another network or data.
        InputError: an unknown method, a grid or damping out of range, workers that are not there.
        EckartError: the worker of a task was killed three times.

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
    check_whole(model)
    check_same_network(model, moments.fingerprint, "these moments")
    workers = checked_workers(workers, model)
    said, model = notes(model), opened(model)
    methods = offered_methods(model, offer.methods, _limits(offer))
    kept = matching(offer.dense, [*moments.specs, *moments.skipped])
    reasons = {**moments.skipped, **dict.fromkeys(kept, "asked to stay dense")}
    specs = {name: spec for name, spec in moments.specs.items() if name not in kept}
    bench = Bench.of(model, moments, offer, specs, workspace, _results_in(reuse, moments))
    found = Predicting(bench, specs, offer, methods, workers, progress)
    coupled, whole = found.at_full_width(reasons)
    groups, ratios = found.groups(coupled), dict.fromkeys(whole, 1.0)
    groups, narrower = found.at_other_widths(groups, whole)
    if offer.rescale:
        ratios = rescaled(bench, whole, found.probe, progress)
        usual = median(list(ratios.values()) or [1.0])  # of the factors they were held against
        groups = [group.times(usual) for group in groups]
    options, noise = [], activation_losses(bench, specs) if offer.activations else {}
    for name, spec in specs.items():
        allowed_here = [o for o in whole[name] if offer.allows(o.form)]
        if name in noise:
            allowed_here += rounded_options(bench, spec, groups, noise[name])
        every = [o.times(ratios[name]) for o in (*allowed_here, *narrower[name])]
        options.append(Curve(Site(name, (name,)), (*every, Option("dense", spec.dense, 0.0))))
    if offer.activations:
        methods = replace(methods, methods={**methods.methods, EIGHT_BITS: ASKED})
    return Curves(
        curves=tuple(options),
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


def _results_in(reuse: Curves | None, moments: Moments) -> States:
    """What earlier curves hold.

    Raises:
        MismatchError: they are of other moments.
    """
    if reuse is None:
        return States()
    check_kind("reuse", reuse, Curves)
    if reuse.moments != moments.digest:
        raise MismatchError(
            "reuse= has curves of other moments, of which nothing can be used again: leave it out"
        )
    return reuse.states


def _totals(moments: Moments) -> dict[str, float]:
    """Cost of the whole network; for costs that only layers know, the sum over the layers."""
    specs = moments.specs.values()
    costs = costs_told_by(specs)
    summed = {name: sum(c.of(s, s.dense) for s in specs) for name, c in costs.items()}
    known = {name: cost for name, cost in moments.model_costs.items() if name in costs}
    return {**summed, **known}
