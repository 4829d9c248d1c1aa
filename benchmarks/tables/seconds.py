"""The table of seconds and memory after calibration."""

from benchmarks.measuring.results_file import Row, committed
from benchmarks.tables.markdown import table


def seconds() -> str:
    """CPU seconds of each network, with what was asked for."""
    heads = [
        "network",
        "limits",
        "options",
        "first look",
        "`curves`",
        "other limits",
        "first budget",
        "another",
        "`apply`",
        "asked",
        "GB",
    ]
    lines = []
    for row in committed("seconds"):
        if "not_done_after_s" in row:
            rest = ["–"] * (len(heads) - 3)
            late = f"not done after {row['not_done_after_s']:.0f} s"
            lines.append([row["network"], row["limits"], late, *rest])
            continue
        budgets = [row[name] for name in ("first_budget_s", "another_budget_s", "apply_s")]
        lines.append(
            [
                f"{row['network']}, {row['shape'][-1]} {'px' if row['shape'][2:] else 'tokens'}",
                row["limits"],
                f"{row['options']:,}",
                _if_measured(row, "first_look_s"),
                f"{row['curves_s']:.1f}",
                _if_measured(row, "other_limits_s"),
                *(f"{value:.1f}" for value in budgets),
                f"{row['target_s']:g}",
                f"{row['peak_bytes'] / 1e9:.2f}",
            ]
        )
    return table(heads, lines)


def _if_measured(row: Row, name: str) -> str:
    """Seconds; older rows have no such number."""
    return f"{row[name]:.1f}" if name in row else "–"


SECTIONS = {"seconds": seconds}
