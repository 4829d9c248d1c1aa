"""Tables of what kills and damaged files cost."""

from collections.abc import Sequence

from benchmarks.measuring.results_file import Row, committed
from benchmarks.robustness.faults import LOSSES
from benchmarks.robustness.fuzz import EQUAL, FAILURES, FORGED, REFUSED
from benchmarks.tables.markdown import table

WORK = {
    "save": "`save` over a saved network",
    "moments": "`Moments.save` over a file",
    "workspace": "`calibrate` in a workspace",
    "frontier": "`frontier` with a file",
    "report": "`write_report` over a page",
    "healing": "`heal` with a checkpoint",
}


def kills() -> str:
    """Counts by kind of work, over the three signals."""
    rows: Sequence[Row] = committed("faults")
    lines = []
    for kind, name in WORK.items():
        mine = [row for row in rows if row["kind"] == kind]
        counts = [sum(row[what] for row in mine) for what in ("kills", "before the end", *LOSSES)]
        lines.append([name, *map(str, counts)])
    return table(("work", "kills", "before the end", *LOSSES), lines)


def mutations() -> str:
    """Counts by kind of file."""
    columns = ("mutations", REFUSED, EQUAL, FORGED, *FAILURES)
    rows: Sequence[Row] = committed("fuzz")
    return table(("file", *columns), [[r["kind"], *(str(r[c]) for c in columns)] for r in rows])


SECTIONS = {"kills": kills, "mutations": mutations}
