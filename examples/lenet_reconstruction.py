"""Study 4: fewer channels of LeNet-5 by linear activation reconstruction, on MNIST.

python examples/lenet_reconstruction.py --data ../data/mnist

The course reconstructs a layer from few of its inputs by a group lasso: M minimises ½ tr(M R Mᵀ) −
tr(B Mᵀ) + λ Σ ‖M_j‖ with R = (x/d)(xᵀ/n) and B = W R, by proximal gradient, FISTA or alternating
minimisation. Inputs whose columns are zero go, and the layer before stops computing them
(collapse); the rest is refitted by least squares (debiasing). It keeps 11 % of the columns of the
last layer and loses 0.3 points. Here: its solvers, the three layers that read channels, alone and
together, one epoch of retraining, and eckart's options of both families under one budget.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from math import inf
from time import process_time

import torch
from torch import Tensor

import eckart
from eckart.linalg import (
    History,
    alternating_minimisation,
    fista,
    group_lasso,
    proximal_gradient,
)
from study_kit.images import load_images
from study_kit.lenet import WRITERS, LeNet5, Site, collapsed, with_matrix
from study_kit.measuring import measured
from study_kit.study import Row, Study, begin, percent, table
from study_kit.training import Recipe, train_epochs, trained

BOUNCES = (1, 5, 50, 250)
FRACTIONS = (0.75, 0.5, 0.35, 0.25, 0.15, 0.1)
KEEPS = (0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01)
COURSE = (56, 53)  # columns that the course kept of 500, without and with a free bias
NAMES = {"conv2": "conv1 → conv2", "fc1": "conv2 → fc1", "fc2": "fc1 → fc2"}
RETRAINING = Recipe(epochs=1, rate=0.01)
SHOWN = 1000  # iterations in the figure
Matrices = tuple[Tensor, Tensor]


def main(arguments: Sequence[str] | None = None) -> None:
    study = begin("lenet-reconstruction", "ylecun/mnist", arguments)
    few = "[:1000]" if study.quick else ""
    train, test = (load_images(study.data, split + few) for split in ("train", "test"))
    recipe = Recipe(epochs=1 if study.quick else 8, rate=0.05)
    dense = study.network("dense", LeNet5, lambda: trained(LeNet5, train, recipe, study.seed))
    sites = {layer: Site(dense, layer, train) for layer in WRITERS}
    with_bias = Site(dense, "fc2", train, bias=True)
    fc2 = sites["fc2"].gram, sites["fc2"].cross, 0.01
    problems = {"the course's timing problem": synthetic(study.quick), "fc2 of LeNet-5": fc2}
    draw_solvers(study, study.rows("solvers", lambda: solvers(problems, study.quick)))
    tabulate_sites(study, study.rows("sites", lambda: reconstructed(dense, sites, with_bias, test)))
    draw_mass(study, dense, sites)
    draw_frontier(study, study.rows("frontier", lambda: frontier(study, dense, sites, train, test)))


def synthetic(quick: bool) -> tuple[Tensor, Tensor, float]:
    """`x = randn(500, 450) randn(450, 60000)`, `y = randn(200, 500) x`, λ = 0.1; rank-deficient."""
    torch.manual_seed(0)
    n, r, d, h = (600, 20, 25, 10) if quick else (60000, 450, 500, 200)
    x = torch.randn(d, r).double() @ torch.randn(r, n).double()
    y = torch.randn(h, d).double() @ x
    return (x / d) @ (x.mT / n), (y / d) @ (x.mT / n), 0.1


def solvers(problems: dict[str, tuple[Tensor, Tensor, float]], quick: bool) -> Iterator[Row]:
    """How each solver gets to the optimum, which is eckart's at a relative gap of 1e-10."""
    most = 300 if quick else 20_000
    for problem, (gram, cross, alpha) in problems.items():
        optimum = group_lasso(gram, cross, alpha, tol=1e-10).objective
        scale = 0.5 * float((cross @ torch.linalg.pinv(gram, hermitian=True) * cross).sum())
        runs: dict[str, Callable[..., History]] = {"proximal gradient": proximal_gradient}
        runs |= {f"FISTA, q = {q}": lambda *p, q=q, **k: fista(*p, q=q, **k) for q in BOUNCES}
        runs["alternating, then FISTA"] = alternating_minimisation
        for name, run in runs.items():
            start = process_time()
            history = run(gram, cross, alpha, max_iterations=most)
            seconds = process_time() - start
            excess = [(loss - optimum) / scale for loss in history.losses]
            first = next((i for i, e in enumerate(excess, 1) if max(excess[i - 1 :]) <= 1e-6), None)
            yield {
                "problem": problem, "solver": name, "iterations": history.iterations,
                "excess": excess[-1], "enough": first, "seconds": seconds,
                "rises": sum(b > a for a, b in zip(excess, excess[1:], strict=False)),
                "path": excess[:SHOWN],
            }  # fmt: skip
        start = process_time()
        found = group_lasso(gram, cross, alpha)
        seconds, excess = process_time() - start, (found.objective - optimum) / scale
        yield {"problem": problem, "solver": f"**eckart** (gap {found.gap:.0e}, Newton steps)"}
        yield {"iterations": found.iterations, "seconds": seconds, "excess": excess}


def reconstructed(
    dense: LeNet5, sites: dict[str, Site], with_bias: Site, test
) -> Iterator[Row]:
    """One layer at a time, from few of the units that it reads."""
    for layer, site in sites.items():
        for fraction, found in zip(FRACTIONS, site.lasso(FRACTIONS), strict=True):
            kept = found.support.tolist()
            yield _reconstructed(dense, layer, "free bias: no", site, found.solution, kept, test)
