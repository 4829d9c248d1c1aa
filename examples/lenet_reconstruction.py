"""Study 4: fewer channels of LeNet-5 by linear activation reconstruction, on MNIST.

python examples/lenet_reconstruction.py --data ../data/mnist

The notebook reconstructs a layer from a few of its inputs by a group lasso: M minimises
½ tr(M R Mᵀ) − tr(B Mᵀ) + λ Σ ‖M_j‖ with R = (x/d)(xᵀ/n) and B = W R, by proximal gradient, FISTA or
alternating minimisation. Inputs whose columns are zero are removed, and the layer before stops
computing them (collapse). The rest is refitted by least squares (debiasing). This study trains its
network as it does, from three seeds, repeats its steps, and puts eckart beside them.
"""

from collections.abc import Iterator, Sequence
from functools import partial

from study_kit.convergence import alternations, solvers, synthetic, timed
from study_kit.images import load_images
from study_kit.lenet import WRITERS, LeNet5
from study_kit.measuring import measured
from study_kit.opening import Line, averaged, opening
from study_kit.reconstruction import (
    LAST,
    Subject,
    all_layers,
    as_the_notebook,
    one_layer,
    subject,
    swept,
)
from study_kit.reconstruction_pages import (
    draw_frontier,
    draw_mass,
    draw_solvers,
    draw_sweep,
    tabulate_alternations,
    tabulate_figures,
    tabulate_sites,
)
from study_kit.study import Row, Study, begin
from study_kit.training import Recipe, trained

SEEDS = 3
TRAINING = Recipe(epochs=8, rate=1e-3, batch=256, adam=True)
NORMAL = {"mean": (0.1307,), "std": (0.3081,)}
ALPHA = 0.01
ALPHAS = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.0005)
NOTEBOOK = {  # columns of 500 kept, accuracy with the shrunken matrix, debiased
    "fc2": (56, 0.9721, 0.9881),
    "fc2, free bias": (53, None, 0.9875),
}
FRACTIONS = (0.75, 0.5, 0.35, 0.25, 0.15, 0.1)
KEEPS = (0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01)


def main(arguments: Sequence[str] | None = None) -> None:
    study = begin("lenet-reconstruction", "ylecun/mnist", arguments)
    few = "[:300]" if study.quick else ""
    train, test = (load_images(study.data, part + few, **NORMAL) for part in ("train", "test"))
    make = partial(LeNet5, *(6, 10, 40) if study.quick else ())
    recipe = Recipe(1, 1e-3, 256, adam=True) if study.quick else TRAINING
    seeds = [study.seed + i for i in range(1 if study.quick else SEEDS)]

    def network(seed: int, seen: list[float] | None = None) -> LeNet5:
        train_it = partial(trained, make, train, recipe, seed, seen)
        return study.network(f"dense-{seed}", make, train_it, recipe, seed, train.digest())

    def training() -> Iterator[Row]:
        for seed in seeds:
            seen: list[float] = []
            row = measured(network(seed, seen), test, seed=seed)
            yield row | {"epochs": seen}

    how = make, recipe, seeds, train.digest(), test.digest()
    dense = study.rows("training", training, *how)
    layers = [list(WRITERS) if seed == seeds[0] else ["fc2"] for seed in seeds]
    on = [subject(network(s), s, train, names) for s, names in zip(seeds, layers, strict=True)]
    course = study.rows(
        "course", lambda: [r for s in on for r in as_the_notebook(s, ALPHA, test)],
        *how, as_the_notebook, Subject, ALPHA,
    )  # fmt: skip
    tabulate_course(study, dense, course)
    solve(study, on[0], dense, course, how)
    alphas = study.some(ALPHAS)
    rows = study.rows(
        "sweep", lambda: [r for s in on for r in swept(s, alphas, train, test, s is on[0])],
        *how, swept, Subject, alphas,
    )  # fmt: skip
    draw_sweep(study, rows, dense)
    columns = {name: figures[0] for name, figures in NOTEBOOK.items() if not study.quick}
    fractions = study.some(FRACTIONS)
    one = partial(one_layer, on[0], fractions, columns, test)
    rows = study.rows("sites", one, *how, Subject, fractions, columns)
    tabulate_sites(study, rows, dense[0])
    draw_mass(study, on[0].sites)
    keeps = study.some(KEEPS)
    whole = partial(all_layers, on[0], fractions, keeps, train, test)
    rows = study.rows("frontier", whole, *how, Subject, fractions, keeps)
    draw_frontier(study, rows, dense[0])
    said = f"Seeds {seeds[0]} to {seeds[-1]}"
    study.sign(dense[0], ", training of the dense networks included", said)


def tabulate_course(study: Study, dense: list[Row], rows: list[Row]) -> None:
    """The accuracies that open the page: the notebook's, the same here, and eckart."""
    lines = [Line("as trained", 0.9907, averaged(dense))]
    for name in LAST:
        of = [row for row in rows if row["site"] == name]
        ours = averaged([row["ours"] for row in of])
        shrunk, debiased = NOTEBOOK[name][1:]
        steps = {"lasso": shrunk, "lasso, collapsed": shrunk, "debiased": debiased}
        for step, there in steps.items():
            if there is None:
                continue
            key = {"debiased": "accuracy", "lasso, collapsed": "collapsed"}.get(step, step)
            method = averaged([row | {"accuracy": row[key]} for row in of])
            lines.append(Line(f"{name}: {step}", there, method, ours))
    study.put("opening", opening(lines))


def solve(study: Study, on: Subject, dense: list[Row], course: list[Row], how: tuple) -> None:
    """The solvers on the notebook's toy problem and on `fc2`, and its other figures."""
    most = 300 if study.quick else 100_000
    toy, timing = (25, 20, 10, 600), (25, 20, 10, 600)
    if not study.quick:  # the notebook's d, r, h and n
        toy, timing = (100, 80, 200, 10_000), (500, 450, 200, 60_000)
    fc2 = on.sites["fc2"].gram, on.sites["fc2"].cross, ALPHA
    problems = {"the toy problem": synthetic(*toy), "fc2 of LeNet-5": fc2}
    how = (*how, toy, ALPHA, most)
    rows = study.rows("solvers", partial(solvers, problems, most), *how)
    draw_solvers(study, rows)
    alternated = study.rows("alternations", partial(alternations, problems, most), *how)
    tabulate_alternations(study, alternated)
    repeats = 1 if study.quick else 5
    times = study.rows("times", lambda: timed(synthetic(*timing), repeats), timed, timing, repeats)
    seconds = {row["solver"]: f"{row['seconds']:.2g}" for row in times}
    on_toy = [row for row in rows if row["problem"] == "the toy problem"]
    tabulate_figures(study, dense, course, on_toy, seconds)


if __name__ == "__main__":
    main()
