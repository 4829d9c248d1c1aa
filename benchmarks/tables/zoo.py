"""Tables of the networks that went through every stage, and of those that did not."""

from collections import Counter
from collections.abc import Sequence

from benchmarks.measuring.results_file import Row, committed
from benchmarks.tables.markdown import table
from benchmarks.zoo.network import LIBRARIES
from benchmarks.zoo.networks import NETWORKS
from benchmarks.zoo.notes import FAILED, NAMED, PASSED
from benchmarks.zoo.shares import REACHED

SHARES = ("share", "share of the rest")
LOW = 0.9
ASIDE = ("torch.nn.Embedding", "the head over the vocabulary")  # reasons that do not count there
IDLE = "never called in calibration"
MOST = 160  # characters of a message


def summary() -> str:
    """Counts and mean shares by library, and of all."""
    rows: Sequence[Row] = committed("zoo")
    groups = {name: [row for row in rows if row["library"] == name] for name in LIBRARIES}
    lines = [_line(name, mine) for name, mine in groups.items() if mine]
    counted = ("mean share", "without tables and heads", "of what was reached")
    head = ("library", "measured", PASSED, NAMED, FAILED, *counted)
    return table(head, [*lines, _line("all", rows)])


def _line(name: str, rows: Sequence[Row]) -> list[str]:
    counts = Counter(row["outcome"] for row in rows)
    shares = [_mean([row.get(share, 0.0) for row in rows]) for share in SHARES]
    shares.append(_mean([_reached(row) for row in rows]))
    there = sum(name in ("all", network.library) for network in NETWORKS.values())
    return [
        name,
        f"{len(rows)} of {there}",
        *(str(counts[o]) for o in (PASSED, NAMED, FAILED)),
        *shares,
    ]


def _reached(row: Row) -> float:
    """Where everything was reached, the row may be from before the two shares were told apart."""
    return float(row[REACHED] if REACHED in row else row.get("share of the rest", 0.0))


def low() -> str:
    """The networks of which less than `LOW` takes part, the lowest first, and the main reason."""
    rows = [row for row in committed("zoo") if "left out" in row and _reached(row) < LOW]
    lines = []
    for row in sorted(rows, key=_reached):
        counted = [k for k in row["left out"] if k != IDLE and not any(a in k for a in ASIDE)]
        main = max(counted, key=lambda reason: row["left out"][reason], default="")
        lines.append([_code(row["name"]), f"{_reached(row):.0%}", _short(main)])
    return table(("network", "takes part", "mainly because"), lines)


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.1%}"


def exceptions() -> str:
    """One line for each network that did not pass, those that failed first."""
    rows: Sequence[Row] = [row for row in committed("zoo") if row["outcome"] != PASSED]
    rows = sorted(rows, key=lambda row: (row["outcome"] != FAILED, row["name"]))
    lines = [[_code(row["name"]), row["outcome"], row.get("stage", ""), _said(row)] for row in rows]
    return table(("network", "outcome", "stage", "what it said"), lines)


def _said(row: Row) -> str:
    text = " ".join(str(row.get("error") or row.get("reason")).split())
    text = text.partition("Largest parts that cannot shrink further: ")[2] or text
    cut = text if len(text) <= MOST else text[:MOST].rsplit(" ", 1)[0] + " …"
    return _code(cut.replace("|", "/").replace("`", "'"))


def _code(text: str) -> str:
    return f"`{text}`"


def left_out() -> str:
    """What was left out, by the reason, over all networks: how many have it, and how much."""
    rows: Sequence[Row] = committed("zoo")
    networks: Counter[str] = Counter()
    shares: Counter[str] = Counter()
    for row in rows:
        for reason, weights in row.get("left out", {}).items():
            networks[reason] += 1
            shares[reason] += weights / row["params"]
    lines = [
        [_short(reason), str(networks[reason]), f"{shares[reason] / len(rows):.2%}"]
        for reason, _ in shares.most_common(15)
    ]
    return table(("reason", "networks", "mean share of the parameters"), lines)


def _short(reason: str) -> str:
    """Without the list of known types."""
    return reason.partition(" (known:")[0].replace("|", "/")


def codes() -> str:
    """How many rows are of which code, and how many went on to the export."""
    rows: Sequence[Row] = committed("zoo")
    counts = Counter(row["code"] for row in rows)
    of = ", ".join(f"{count} rows of `{code}`" for code, count in counts.most_common())
    exported = sum("export" in row["seconds"] for row in rows)
    return f"{of}. {exported} rows went on to the export."


SECTIONS = {
    "zoo summary": summary,
    "zoo exceptions": exceptions,
    "zoo left out": left_out,
    "zoo low": low,
    "zoo codes": codes,
}
