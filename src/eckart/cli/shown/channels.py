"""What commands show of channels: the groups that lost some, and those that stay whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.table import Table

from eckart.cli.shown.tables import make_table
from eckart.records import ChannelGroup, LayerSpec, Plan
from eckart.report.formats import loss_text
from eckart.report.supports import by_reason
from eckart.report.widths import in_order, names_text

_EXACT = 1e-6  # relative gap below which a plan is as good as its bound


def removal_tables(plan: Plan, specs: Mapping[str, LayerSpec]) -> list[Table]:
    """The groups that a plan narrows, in the network's order, and those it could not."""
    rows = []
    for group in in_order((removal.group for removal in plan.removals.values()), specs):
        removal = plan.removals[group.name]
        kept = f"{len(removal.kept)}/{group.size}"
        rows.append((group.name, kept, removal.method, loss_text(removal.loss), *_members(group)))
    columns = {"group": False, "kept": True, "method": False, "pred. loss": True, **_MEMBERS}
    tables = [make_table("Channels", columns, rows)] if rows else []
    return [*tables, *whole_tables(plan.whole)]


def group_tables(
    groups: Iterable[ChannelGroup], layers: Iterable[str], whole: Mapping[str, str]
) -> list[Table]:
    """The groups that can be narrowed, in the order of the layers, and those that cannot."""
    rows = [(group.name, str(group.size), *_members(group)) for group in in_order(groups, layers)]
    columns = {"group": False, "channels": True, **_MEMBERS}
    tables = [make_table("Channels that can be removed", columns, rows)] if rows else []
    return [*tables, *whole_tables(whole)]


def whole_tables(whole: Mapping[str, str]) -> list[Table]:
    """Groups that cannot be narrowed, those of one reason in one row; no table without any."""
    rows = [(names_text(names), reason) for reason, names in by_reason(whole).items()]
    columns = {"groups": False, "reason": False}
    return [make_table("Channels that all stay", columns, rows)] if rows else []


def bound_lines(plan: Plan) -> list[str]:
    """How far the plan may be from the best one; nothing where no bound is known."""
    if not plan.bound > 0:
        return []
    loss, gap = loss_text(plan.loss), plan.loss / plan.bound - 1
    if gap <= _EXACT:
        return [f"predicted loss {loss}: no plan of these options has less"]
    bound = loss_text(plan.bound)
    return [f"predicted loss {loss}, at least {bound} for these options: {gap:.1%} to gain at most"]


_MEMBERS = {"written by": False, "carried by": False, "read by": False}


def _members(group: ChannelGroup) -> Iterable[str]:
    sides = (group.writers, group.followers, group.readers)
    return [names_text(list(side), most=2) for side in sides]
