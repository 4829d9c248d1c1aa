"""The table of seconds and memory after calibration."""

from benchmarks.measuring.results_file import committed
from benchmarks.tables.markdown import table


def seconds() -> str:
    """CPU seconds of each network, with what was asked for."""
    heads = [
        "network",
        "limits",
        "options",
        "`curves`",
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
                f"{row['curves_s']:.1f}",
                *(f"{value:.1f}" for value in budgets),
                f"{row['target_s']:g}",
                f"{row['peak_bytes'] / 1e9:.2f}",
            ]
        )
    return table(heads, lines)


SECTIONS = {"seconds": seconds}
