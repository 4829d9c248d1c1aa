"""Tables and figures of the residual MLP: accuracy against rank, parameters, time and epochs."""

from __future__ import annotations

from study_kit.residual_mlp import KINDS
from study_kit.study import Row, Study, percent, table

AXES = {
    "rank": {"xscale": "log", "xlabel": "rank"},
    "params": {"xscale": "log", "xlabel": "parameters"},
    "time": {"xlabel": "time, of dense"},
}


def draw_ranks(study: Study, rows: list[Row]) -> None:
    """Write and draw accuracy against rank, parameters and time, and time against rank."""
    (dense,) = (row for row in rows if row["rank"] is None)
    head = ("kind", "rank", "parameters", "parameters, %", "MACs, %", "time, of dense")
    cells = [
        (r["kind"], r["rank"], f"{r['params']:,}",
         *(percent(r[c] / dense[c], 1) for c in ("params", "macs")),
         f"{r['time']:.2f}", percent(r["train"]), percent(r["accuracy"])) for r in rows
    ]  # fmt: skip
    study.put("ranks", table((*head, "training images", "test"), cells))
    with study.figure("ranks", panels=4) as axes:
        for panel, cost in zip(axes, AXES, strict=False):
            for kind in KINDS[:2] if cost == "rank" else KINDS:
                of_kind = sorted((r for r in rows if r["kind"] == kind), key=lambda r: r[cost])
                lines = {"accuracy": ("o-", ""), "train": ("x:", ", training images")}
                for score, (style, label) in lines.items():
                    if score == "accuracy" or cost == "rank":
                        points = [(r[cost], 100 * r[score]) for r in of_kind]
                        panel.plot(
                            *zip(*points, strict=True), style, ms=4, lw=1, label=kind + label
                        )
            panel.axhline(100 * dense["accuracy"], color="grey", lw=0.7)
            panel.set(**AXES[cost])
        axes[0].axhline(100 * dense["train"], color="grey", lw=0.7, ls=":")
        axes[0].set_ylabel("accuracy, %")
        draw_times(axes[-1], rows)


def draw_times(panel, rows: list[Row]) -> None:
    """Draw the time of a forward pass against the rank of every layer."""
    of_svd = sorted((r["rank"], r["time"]) for r in rows if r["kind"] == KINDS[0])
    panel.plot(*zip(*of_svd, strict=True), "o-", ms=4, lw=1, label=KINDS[0])
    panel.axhline(1, color="grey", lw=0.7)
    panel.set(xlabel="rank", ylabel="time, of dense")


def draw_tuned(study: Study, dense: Row, rows: list[Row]) -> None:
    """Write and draw the accuracy after each epoch, one panel per rank and rate."""
    last = len(rows[0]["epochs"])
    epochs = ("cut", *(f"epoch {e}" for e in range(1, last)))
    cells = [
        (f"{r['rate']:g}", r["rank"], r["kind"], percent(r["params"] / dense["params"], 1),
         *map(percent, r["epochs"])) for r in rows
    ]  # fmt: skip
    head = ("rate", "rank", "kind", "parameters, %", *epochs)
    study.put("tuned", table(head, cells))
    panels = [(r["rank"], r["rate"]) for r in rows if r["kind"] == KINDS[0]]
    with study.figure("tuned", panels=len(panels), sharey=True) as axes:
        for panel, (rank, rate) in zip(axes, panels, strict=True):
            for row in rows:
                if row["rank"] in (None, rank) and row["rate"] == rate:
                    points = [100 * accuracy for accuracy in row["epochs"]]
                    panel.plot(points, "o-", ms=4, lw=1, label=row["kind"])
            panel.axhline(100 * dense["accuracy"], color="grey", lw=0.7)
            panel.set(title=f"as large as rank {rank}, rate {rate:g}", xlabel="epochs")
        axes[0].set_ylabel("test accuracy, %")
