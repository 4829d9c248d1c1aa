"""Tables and figures of the study of LeNet-5."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from study_kit.comparison import Figure, comparison
from study_kit.lenet import Site
from study_kit.reconstruction import LAST
from study_kit.study import Row, Study, percent, table


def tabulate_figures(
    study: Study, dense: Sequence[Row], course: Sequence[Row], toy: Sequence[Row], times: Row
) -> None:
    """The notebook's figures that are not test accuracies."""
    plain, free = ([row for row in course if row["site"] == name] for name in LAST)
    last = len(dense[0]["epochs"]) - 1
    shares = [mean(row["shares"][i] for row in plain) for i in range(4)]
    objectives = [row["objective"] for row in toy]
    most = max(abs(value - objectives[-1]) for value in objectives[:-1])
    figures = [
        Figure("training accuracy, epoch 1, %", "93.92", _each(d["epochs"][0] for d in dense)),
        Figure(f"training accuracy, epoch {last + 1}, %", "99.69",
               _each(d["epochs"][last] for d in dense)),
        Figure("columns of `fc2` kept, %", "11.20", _each((_kept(r) for r in plain), 1)),
        Figure("columns kept, free bias, %", "10.6, by its size",
               _each((_kept(r) for r in free), 1)),
        Figure("parameters left, %", "16.47", _left(plain, dense), _left(plain, dense, "ours")),
        Figure("parameters left, free bias, %", "15.90", _left(free, dense),
               _left(free, dense, "ours")),
        Figure("shares of the layers then, %", "0.73, 35.28, 63.18, 0.80",
               ", ".join(percent(share) for share in shares)),
        Figure("answers that the collapse changes", "none, by the accuracy",
               str(sum(r["changed"] for r in course))),
        Figure("toy problem: objective, every solver", "−7787.8591",
               f"{objectives[0]:.4f} (within {most:.0e})".replace("-", "−", 1),
               f"{objectives[-1]:.4f}".replace("-", "−")),
        Figure("timing problem: seconds, FISTA", "4.39", times["FISTA"], times["eckart"]),
        Figure("timing problem: seconds, alternating", "0.672", times["alternating, then FISTA"],
               times["eckart"]),
    ]  # fmt: skip
    study.put("figures", comparison(figures))


def _each(fractions: Sequence[float], digits: int = 2) -> str:
    """The mean in percent, and each seed in brackets."""
    values = list(fractions)
    each = f" ({', '.join(percent(v, digits) for v in values)})" if len(values) > 1 else ""
    return f"{percent(mean(values), digits)}{each}"


def _kept(row: Row) -> float:
    return row["kept"] / row["units"]


def _left(rows: Sequence[Row], dense: Sequence[Row], of: str | None = None) -> str:
    """The parameters of the small networks, or of eckart's beside them."""
    return _each((r[of] if of else r)["params"] / dense[0]["params"] for r in rows)


def draw_solvers(study: Study, rows: Sequence[Row]) -> None:
    """Draw the excess against iterations, and write the table of the solvers."""
    problems = list(dict.fromkeys(row["problem"] for row in rows))
    with study.figure("solvers", panels=len(problems)) as axes:
        for panel, problem in zip(axes, problems, strict=True):
            for row in rows:
                if row["problem"] == problem and row["path"]:
                    panel.semilogy(row["path"], label=row["solver"], lw=1)
            panel.set(title=problem, xlabel="iterations", ylim=(1e-12, 1))
        axes[0].set_ylabel("relative excess of the objective")
    head = ("problem", "solver", "objective", "iterations", "of which raise it", "final excess",
            "iterations to 1e-6", "seconds")  # fmt: skip
    cells = [
        (r["problem"], r["solver"], f"{r['objective']:.4f}", r["iterations"], r["rises"],
         f"{max(r['excess'], 0.0):.0e}", r["enough"], f"{r['seconds']:.2f}") for r in rows
    ]  # fmt: skip
    study.put("solvers", table(head, cells))


def tabulate_alternations(study: Study, rows: Sequence[Row]) -> None:
    """Write what the smoothing and the number of rounds do."""
    kinds = {"smoothing": ("ε", "{:.0e}"), "rounds": ("rounds", "{}")}
    for kind, (name, shown) in kinds.items():
        of = [row for row in rows if (kind == "smoothing") == ("smoothing" in row)]
        head = ("problem", name, "excess after the rounds", "columns not zero then",
                "iterations of FISTA", "final excess", "columns kept", "seconds")  # fmt: skip
        cells = [
            (r["problem"], shown.format(r[kind]), f"{max(r['biased'], 0.0):.0e}", r["columns"],
             r["iterations"], f"{max(r['excess'], 0.0):.0e}", r["kept"], f"{r['seconds']:.2f}")
            for r in of
        ]  # fmt: skip
        study.put(kind, table(head, cells))


def draw_sweep(study: Study, rows: Sequence[Row], dense: Sequence[Row]) -> None:
    """Write and draw accuracy against parameters over λ, means of the seeds."""
    groups: dict[tuple[float, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["alpha"], row["method"]), []).append(row)
    cells = [
        (f"{alpha:g}", method, "" if of[0]["kept"] is None else f"{mean(_counts(of)):.1f}",
         percent(_mean(of, "params") / dense[0]["params"], 1), _each(r["accuracy"] for r in of),
         percent(of[0]["retrained"])) for (alpha, method), of in groups.items()
    ]  # fmt: skip
    head = ("λ", "method", "columns", "parameters, %", "accuracy",
            f"after one epoch, seed {rows[0]['seed']}")  # fmt: skip
    study.put("sweep", table(head, cells))
    with study.figure("sweep", panels=2) as axes:
        for panel, key in zip(axes, ("accuracy", "retrained"), strict=True):
            for method in dict.fromkeys(row["method"] for row in rows):
                of = [
                    g if key == "accuracy" else g[:1] for k, g in groups.items() if k[1] == method
                ]
                points = [
                    (100 * _mean(g, "params") / dense[0]["params"], 100 * _mean(g, key)) for g in of
                ]
                panel.plot(*zip(*sorted(points), strict=True), marker="o", ms=4, label=method)
            panel.axhline(100 * mean(d["accuracy"] for d in dense), color="grey", lw=0.5)
            panel.set(xlabel="parameters kept, %", ylabel="accuracy, %", ylim=(90, 99.5))
        axes[0].set_title("debiased, mean of the seeds")
        axes[1].set_title("after one epoch, one seed")


def _mean(rows: Sequence[Row], key: str) -> float:
    return mean(row[key] for row in rows)


def _counts(rows: Sequence[Row]) -> list[int]:
    return [row["kept"] for row in rows]


def tabulate_sites(study: Study, rows: Sequence[Row], dense: Row) -> None:
    """Write and draw the points lost at each step, and the parameters."""
    head = ("units read", "kept", "λ", "parameters", "lasso", "debiased and collapsed",
            "answers changed by the collapse", "backward elimination")  # fmt: skip
    lost = lambda accuracy: f"{100 * (dense['accuracy'] - accuracy):.2f}"  # noqa: E731
    cells = [
        (r["site"], f"{r['kept']} of {r['units']}", f"{r['alpha']:.2g}",
         percent(r["params"] / dense["params"], 1), lost(r["shrunk"]), lost(r["accuracy"]),
         r["changed"], lost(r["eliminated"])) for r in rows
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


def draw_frontier(study: Study, rows: Sequence[Row], dense: Row) -> None:
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
