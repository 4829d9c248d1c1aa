"""Tables of channel removal on LeNet-5 and ResNet-20."""

from collections.abc import Callable, Sequence
from statistics import mean

from benchmarks.measuring.results_file import Row, committed
from benchmarks.tables.markdown import table

TARGETS = {0.097: "≤ 0.11", 0.05: "≤ 0.26"}
RETRAINED_TARGETS = {"one epoch on labels": "≥ 98.5", "five epochs of distillation": "≥ 99.0"}
NAMES = {
    "joint": "**eckart**, both",
    "low_rank": "low rank and spatial only",
    "removal": "removal only",
    "largest_norm": "largest norm",
    "group_lasso": "group lasso",
    "backward_elimination": "backward elimination",
}


def course(rows: Sequence[Row]) -> str:
    """The course's results: what is kept, and the points lost at each step."""
    head = (
        "seed", "variant", "asked", "λ", "columns kept", "parameters",
        "points lost before the refit", "after it, zero columns", "after it, collapsed",
        "answers changed by the collapse",
    )  # fmt: skip
    return table(head, [_course_row(row) for row in rows])


def _course_row(row: Row) -> list[str]:
    lost = [100 * (row["dense"] - row[k]) for k in ("start_after", "debiased_before")]
    lost.append(100 * (row["dense"] - row["debiased_after"]))
    changed = row["start_answers_changed"] + row["debiased_answers_changed"]
    return [
        str(row["seed"]),
        row["variant"],
        row["asked"],
        "" if row["alpha"] is None else f"{row['alpha']:.4f}",
        f"{row['kept']} ({100 * row['kept'] / row['columns']:.1f} %)",
        f"{100 * row['params']:.1f} %",
        *(f"{points:.2f}" for points in lost),
        str(changed),
    ]


def budgets(rows: Sequence[Row]) -> str:
    """Points lost without retraining, mean over the seeds, each seed in brackets."""
    keeps = sorted({row["keep"] for row in rows}, reverse=True)
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows):
        cells = [[r for r in rows if (r["method"], r["keep"]) == (method, k)] for k in keeps]
        lines.append([NAMES[method], *(_lost(cell) for cell in cells)])
    lines.append(["target", *(TARGETS.get(keep, "") for keep in keeps)])
    return table(("options", *(f"{100 * keep:g} %" for keep in keeps)), lines)


def _lost(rows: Sequence[Row]) -> str:
    if not rows:
        return "not reachable"
    lost = [100 * (row["dense"] - row["accuracy"]) for row in rows]
    return f"{mean(lost):.2f} ({', '.join(f'{value:.2f}' for value in lost)})"


def retrained(budgets: Sequence[Row], retrained: Sequence[Row]) -> str:
    """Accuracy of the joint plan without retraining and after each recipe."""
    joint = [row for row in budgets if row["method"] == "joint"]
    recipes = list(dict.fromkeys(row["recipe"] for row in retrained))
    lines = []
    for seed, keep in dict.fromkeys((row["seed"], row["keep"]) for row in retrained):
        (before,) = (r for r in joint if (r["seed"], r["keep"]) == (seed, keep))
        cells = {r["recipe"]: r for r in retrained if (r["seed"], r["keep"]) == (seed, keep)}
        lines.append(
            [
                str(seed),
                f"{_percent(before['params'], 1)} ({_percent(before['macs'], 1)})",
                _percent(before["dense"]),
                _percent(before["accuracy"]),
                *(_percent(cells[recipe]["accuracy"]) for recipe in recipes),
            ]
        )
    lines.append(["target at 1 %", "", "", "", *(RETRAINED_TARGETS[recipe] for recipe in recipes)])
    return table(("seed", "parameters (MACs)", "dense", "not retrained", *recipes), lines)


def choice(rows: Sequence[Row]) -> str:
    """Accuracy and predicted loss by group, way to choose and fraction of units."""
    fractions = list(dict.fromkeys(row["fraction"] for row in rows))
    lines = []
    for group, chooser in dict.fromkeys((row["group"], row["chooser"]) for row in rows):
        cells = [row for row in rows if (row["group"], row["chooser"]) == (group, chooser)]
        seconds = f"{1000 * cells[0]['chooser_seconds']:.0f}"
        lines.append([group, NAMES[chooser], *(_choice_cell(cell) for cell in cells), seconds])
    head = ("group", "chosen by", *(f"{100 * fraction:g} %" for fraction in fractions), "ms")
    return table(head, lines)


def _choice_cell(row: Row) -> str:
    jumped = "" if row["kept"] == row["size"] else f", {row['kept']} of {row['size']} units"
    return f"{_percent(row['accuracy'])} ({row['loss']:.3g}{jumped})"


def _percent(fraction: float, digits: int = 2) -> str:
    return f"{100 * fraction:.{digits}f}"


SECTIONS: dict[str, Callable[[], str]] = {
    "channels course": lambda: course(committed("lenet-course")),
    "channels budgets": lambda: budgets(committed("lenet-budgets")["budgets"]),
    "channels retrained": lambda: retrained(**committed("lenet-budgets")),
    "channels choice": lambda: choice(committed("channel-choice")["lenet5"]),
    "channels choice_resnet20": lambda: choice(committed("channel-choice")["resnet20"]),
}
