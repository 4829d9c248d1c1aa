"""Study 4: fewer channels of LeNet-5 by linear activation reconstruction, on MNIST.

python examples/lenet_reconstruction.py --data ../data/mnist

The course reconstructs a layer from a few of its inputs by a group lasso: M minimises
½ tr(M R Mᵀ) − tr(B Mᵀ) + λ Σ ‖M_j‖ with R = (x/d)(xᵀ/n) and B = W R, by proximal gradient, FISTA or
alternating minimisation. Inputs whose columns are zero are removed, and the layer before stops
computing them (collapse). The rest is refitted by least squares (debiasing). The course keeps 11 %
of the columns of the last layer and loses 0.3 points. This study shows its solvers, the three
layers that read channels, alone and together, one epoch of retraining, and eckart's joint options.
"""

import copy
from collections.abc import Iterator, Sequence
from functools import partial

from torch import nn

import eckart
from study_kit.convergence import solvers, synthetic
from study_kit.images import Images, load_images
from study_kit.lenet import WRITERS, LeNet5, Site, collapsed, with_matrix
from study_kit.measuring import answers_changed, measured
from study_kit.study import Row, Study, begin, percent, table
from study_kit.training import Recipe, train_epochs, trained

FRACTIONS = (0.75, 0.5, 0.35, 0.25, 0.15, 0.1)
KEEPS = (0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01)
ALPHA = 0.01  # the course's
COURSE = (56, 53)  # columns of 500 that the course kept, without and with a free bias
RETRAINING = Recipe(epochs=1, rate=0.01)


def main(arguments: Sequence[str] | None = None) -> None:
    study = begin("lenet-reconstruction", "ylecun/mnist", arguments)
    few = "[:300]" if study.quick else ""
    train, test = (load_images(study.data, split + few) for split in ("train", "test"))
    recipe = Recipe(epochs=1 if study.quick else 8, rate=0.05)
    make = partial(LeNet5, *(6, 10, 40) if study.quick else ())
    dense = study.network("dense", make, lambda: trained(make, train, recipe, study.seed))
    whole = measured(dense, test)
    sites = {name: Site(dense, name, train) for name in WRITERS}
    sites["fc2, free bias"] = Site(dense, "fc2", train, bias=True)
    fc2 = sites["fc2"].gram, sites["fc2"].cross, ALPHA
    problems = {"the course's timing problem": synthetic(study.quick), "fc2 of LeNet-5": fc2}
    draw_solvers(study, study.rows("solvers", lambda: solvers(problems, study.quick)))
    tabulate_sites(
        study,
        study.rows("sites", lambda: reconstructed(dense, sites, study.some(FRACTIONS), test)),
        whole,
    )
    draw_mass(study, sites)
    rows = study.rows("frontier", lambda: frontier(dense, sites, train, test, study))
    draw_frontier(study, rows, whole)
    study.sign(whole)


def draw_solvers(study: Study, rows: list[Row]) -> None:
    """Draw the excess against iterations, and write the table of the solvers."""
    problems = list(dict.fromkeys(row["problem"] for row in rows))
    with study.figure("solvers", panels=len(problems)) as axes:
        for panel, problem in zip(axes, problems, strict=True):
            for row in rows:
                if row["problem"] == problem and row["path"]:
                    panel.semilogy(row["path"], label=row["solver"], lw=1)
            panel.set(title=problem, xlabel="iterations", ylim=(1e-12, 1))
        axes[0].set_ylabel("relative excess of the objective")
    head = ("problem", "solver", "iterations", "of which raise the objective", "final excess",
            "iterations to 1e-6", "seconds")  # fmt: skip
    cells = [
        (r["problem"], r["solver"], r["iterations"], r["rises"], f"{max(r['excess'], 0.0):.0e}",
         r["enough"], f"{r['seconds']:.2f}") for r in rows
    ]  # fmt: skip
    study.put("solvers", table(head, cells))


def reconstructed(
    dense: LeNet5, sites: dict[str, Site], fractions: Sequence[float], test: Images
) -> Iterator[Row]:
    """One layer at a time, reconstructed from a few of the units that it reads."""
    for name, site in sites.items():
        results = site.lasso(fractions)
        if site.layer == "fc2":
            results += (*site.lasso([COURSE[site.bias] / 500]), site.penalised(ALPHA))
        for found in (result for result in results if len(result.support)):
            kept = found.support.tolist()
            refitted = site.refit(found.solution)
            zeroed, small = (
                make(dense, site.layer, refitted, kept) for make in (with_matrix, collapsed)
            )
            rival = collapsed(dense, site.layer, *site.eliminated(len(kept)))
            shrunk = with_matrix(dense, site.layer, found.solution, kept)
            row = measured(small, test, site=name, kept=len(kept), units=site.units)
            yield row | {
                "alpha": found.alpha,
                "shrunk": measured(shrunk, test)["accuracy"],
                "zeroed": measured(zeroed, test)["accuracy"],
                "eliminated": measured(rival, test)["accuracy"],
                "changed": answers_changed(zeroed, small, test),
            }


def tabulate_sites(study: Study, rows: list[Row], dense: Row) -> None:
    """Write and draw the points lost at each step, and the parameters."""
    head = ("units read", "kept", "λ", "parameters", "lasso", "debiased, zero columns",
            "debiased, collapsed", "answers changed", "backward elimination")  # fmt: skip
    lost = lambda accuracy: f"{100 * (dense['accuracy'] - accuracy):.2f}"  # noqa: E731
    cells = [
        (r["site"], f"{r['kept']} of {r['units']}", f"{r['alpha']:.2g}",
         percent(r["params"] / dense["params"], 1), lost(r["shrunk"]), lost(r["zeroed"]),
         lost(r["accuracy"]), r["changed"], lost(r["eliminated"])) for r in rows
    ]  # fmt: skip
    study.put("sites", table(head, cells))
    with study.figure("sites", panels=2) as axes:
        for panel, key in zip(axes, ("shrunk", "accuracy"), strict=True):
            for site in dict.fromkeys(row["site"] for row in rows):
                points = sorted(
                    (r["kept"] / r["units"], 100 * r[key]) for r in rows if r["site"] == site
                )
                panel.plot(*zip(*points, strict=True), marker=".", label=site)
            panel.axhline(100 * dense["accuracy"], color="grey", lw=0.5)
            panel.set(xlabel="fraction of the units kept", ylabel="accuracy, %", ylim=(90, 99.5))
        axes[0].set_title("as the group lasso leaves it")
        axes[1].set_title("debiased and collapsed")


def draw_mass(study: Study, sites: dict[str, Site]) -> None:
    """Draw how the norm of the columns is spread over the units, before and after."""
    shown = [site for site in sites.values() if not site.bias]
    with study.figure("mass", panels=len(shown)) as axes:
        for panel, site in zip(axes, shown, strict=True):
            solution = site.lasso([0.25])[0].solution
            curves = {"dense": site.weight, "lasso, a quarter": solution}
            curves["debiased"] = site.refit(solution)
            for name, matrix in curves.items():
                mass = site.mass(matrix).cumsum(0)
                panel.plot(
                    [k / site.units for k in range(1, site.units + 1)], mass / mass[-1], label=name
                )
            panel.set(title=site.layer, xlabel="fraction of the units, largest first",
                      ylabel="share of all norms")  # fmt: skip


def frontier(
    dense: LeNet5, sites: dict[str, Site], train: Images, test: Images, study: Study
) -> Iterator[Row]:
    """All three layers at one fraction, as in the course, and eckart, before and after an epoch."""
    fractions = study.some(FRACTIONS)
    found = {layer: sites[layer].lasso(fractions) for layer in WRITERS}
    for i in range(len(fractions)):
        small = dense
        for layer in WRITERS:  # from the input onwards, so that each writer is still complete
            kept, solution = found[layer][i].support.tolist(), found[layer][i].solution
            small = collapsed(small, layer, sites[layer].refit(solution), kept)
        yield from before_and_after(small, train, test, study.seed, method="the course's")
    moments = eckart.calibrate(dense, train.first(2000).in_batches(100), progress=False)
    options = eckart.curves(dense, moments, progress=False)
    for keep in study.some(KEEPS):
        plan = eckart.allocate(options, eckart.Budget(params=keep))
        small = eckart.apply(dense, plan, moments)
        yield from before_and_after(small, train, test, study.seed, method="eckart")


def before_and_after(
    small: nn.Module, train: Images, test: Images, seed: int, method: str
) -> Iterator[Row]:
    """A network without retraining, and after an epoch on labels."""
    row = measured(small, test, method=method)
    small = copy.deepcopy(small)
    for _ in train_epochs(small, train, RETRAINING, seed):
        pass
    yield row | {"retrained": measured(small, test)["accuracy"]}


def draw_frontier(study: Study, rows: list[Row], dense: Row) -> None:
    """Write and draw accuracy against parameters and MACs."""
    cells = [
        (r["method"], *(percent(r[cost] / dense[cost], 1) for cost in ("params", "macs")),
         percent(r["accuracy"]), percent(r["retrained"])) for r in rows
    ]  # fmt: skip
    head = ("method", "parameters, %", "MACs, %", "accuracy", "after one epoch")
    study.put("frontier", table(head, cells))
    with study.figure("frontier", panels=2) as axes:
        for panel, key in zip(axes, ("params", "macs"), strict=True):
            for method in dict.fromkeys(row["method"] for row in rows):
                for score, style in (("accuracy", "o-"), ("retrained", "^--")):
                    points = [
                        (r[key] / dense[key], 100 * r[score]) for r in rows if r["method"] == method
                    ]
                    panel.plot(
                        *zip(*points, strict=True), style, ms=4, lw=1, label=f"{method}, {score}"
                    )
            panel.axhline(100 * dense["accuracy"], color="grey", lw=0.5)
            panel.set(xscale="log", ylim=(94, 99.5), ylabel="accuracy, %")
            panel.set_xlabel({"params": "parameters kept", "macs": "MACs kept"}[key])


if __name__ == "__main__":
    main()
