"""LeNet-5 with fewer channels: what the notebook measures, and eckart beside it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

import eckart
from study_kit.images import Images
from study_kit.lenet import WRITERS, LeNet5, Site, collapsed, second_moment, with_matrix
from study_kit.measuring import answers_changed, measured
from study_kit.study import Row
from study_kit.training import Recipe, train_epochs

EPOCH = Recipe(epochs=1, rate=1e-3, batch=256, adam=True)
"""The epoch of retraining: as the network was trained."""
LAST = ("fc2", "fc2, free bias")
"""The last layer, as the notebook reconstructs it first, and with a bias that may change."""


@dataclass(frozen=True)
class Subject:
    """A trained LeNet-5 with what its smaller copies are made from.

    Attributes:
        seed: of its initialisation and its training.
        network: in eval mode.
        sites: the layers to reconstruct, by name.
        moments, options: eckart's.
    """

    seed: int
    network: LeNet5
    sites: dict[str, Site]
    moments: eckart.Moments
    options: eckart.Curves

    def ours(self, params: float) -> nn.Module:
        """eckart's network of at most so many parameters, or of a fraction of them."""
        plan = eckart.allocate(self.options, eckart.Budget(params=params))
        return eckart.apply(self.network, plan, self.moments)


def subject(network: LeNet5, seed: int, train: Images, layers: Sequence[str]) -> Subject:
    """Measure the moments of some layers, and eckart's curves from 2,000 images."""
    sites = {}
    for layer in layers:
        moment = second_moment(network, layer, train)
        sites[layer] = Site(network, layer, moment)
        if layer == "fc2":
            sites[LAST[1]] = Site(network, layer, moment, bias=True)
    moments = eckart.calibrate(network, train.first(2000).in_batches(100), progress=False)
    options = eckart.curves(network, moments, progress=False)
    return Subject(seed, network, sites, moments, options)


def as_the_notebook(on: Subject, alpha: float, test: Images) -> Iterator[Row]:
    """The last layer at the notebook's λ, step by step, and eckart with as many parameters."""
    for name in LAST:
        site, dense = on.sites[name], on.network
        found = site.penalised(alpha)
        kept = found.support.tolist()
        zeroed = with_matrix(dense, "fc2", found.solution, kept)
        shrunk = collapsed(dense, "fc2", found.solution, kept)
        small = collapsed(dense, "fc2", site.refit(found.solution), kept)
        row = measured(small, test, seed=on.seed, site=name, kept=len(kept), units=site.units)
        yield row | {
            "largest": site.largest,
            "lasso": measured(zeroed, test)["accuracy"],
            "collapsed": measured(shrunk, test)["accuracy"],
            "changed": answers_changed(zeroed, shrunk, test),
            "shares": small.shares(),
            "ours": measured(on.ours(row["params"]), test),
        }


def swept(
    on: Subject, alphas: Sequence[float], train: Images, test: Images, retrain: bool
) -> Iterator[Row]:
    """The last layer at many λ, debiased and collapsed, and eckart with as many parameters."""
    for alpha in alphas:
        sizes = []
        for name in LAST:
            found = on.sites[name].penalised(alpha)
            kept = found.support.tolist()
            small = collapsed(on.network, "fc2", on.sites[name].refit(found.solution), kept)
            known = {"alpha": alpha, "method": name, "kept": len(kept)}
            row = before_and_after(small, train, test, on.seed, retrain, **known)
            sizes.append(row["params"])
            yield row
        known |= {"method": "eckart", "kept": None}
        yield before_and_after(on.ours(sizes[0]), train, test, on.seed, retrain, **known)


def one_layer(
    on: Subject, fractions: Sequence[float], columns: dict[str, int], test: Images
) -> Iterator[Row]:
    """One layer at a time, reconstructed from a few of the units that it reads."""
    for name, site in on.sites.items():
        results = site.lasso(fractions)
        if name in columns:
            results += site.lasso([columns[name] / site.units])
        for found in (result for result in results if len(result.support)):
            kept = found.support.tolist()
            refitted = site.refit(found.solution)
            zeroed, small = (
                make(on.network, site.layer, refitted, kept) for make in (with_matrix, collapsed)
            )
            rival = collapsed(on.network, site.layer, *site.eliminated(len(kept)))
            shrunk = with_matrix(on.network, site.layer, found.solution, kept)
            row = measured(small, test, site=name, kept=len(kept), units=site.units)
            yield row | {
                "alpha": found.alpha,
                "shrunk": measured(shrunk, test)["accuracy"],
                "eliminated": measured(rival, test)["accuracy"],
                "changed": answers_changed(zeroed, small, test),
            }


def all_layers(
    on: Subject, fractions: Sequence[float], keeps: Sequence[float], train: Images, test: Images
) -> Iterator[Row]:
    """All three layers at one fraction of their units, and eckart, before and after an epoch."""
    found = {layer: on.sites[layer].lasso(fractions) for layer in WRITERS}
    for i in range(len(fractions)):
        small = on.network
        for layer in WRITERS:  # from the input onwards, so that each writer is still complete
            kept, solution = found[layer][i].support.tolist(), found[layer][i].solution
            small = collapsed(small, layer, on.sites[layer].refit(solution), kept)
        yield before_and_after(small, train, test, on.seed, method="the course's")
    for keep in keeps:
        yield before_and_after(on.ours(keep), train, test, on.seed, method="eckart")


def before_and_after(
    small: nn.Module, train: Images, test: Images, seed: int, retrain: bool = True, **known: object
) -> Row:
    """A network without retraining, and after an epoch on labels."""
    row = measured(small, test, seed=seed, **known)
    if not retrain:
        return row | {"retrained": None}
    small = copy.deepcopy(small)
    for _ in train_epochs(small, train, EPOCH, seed):
        pass
    return row | {"retrained": measured(small, test)["accuracy"]}
