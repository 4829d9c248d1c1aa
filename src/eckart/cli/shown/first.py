"""The first frontier, which is shown while the rest is computed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import eckart
from eckart.cli.shown.output import say
from eckart.errors import BudgetError
from eckart.records import Budget, Curves
from eckart.records.budgets import Scope


def say_first(first: Curves, keeps: Sequence[float], cost: str, of: Scope) -> None:
    """Say what low rank alone is predicted to lose at each fraction that it can reach."""
    found = []
    for keep in keeps:
        with suppress(BudgetError):
            plan = eckart.allocate(first, Budget(costs={cost: keep}, of=of))
            found.append(f"{keep:g}: {plan.loss:.3g}")
    if found:
        say(f"predicted loss at most (low rank alone; all options follow): {', '.join(found)}")
