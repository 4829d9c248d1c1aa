"""The model card: what a folder holds and how to load it, for people and for the hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from eckart.records import Plan

CARD = "README.md"
_OURS = "<!-- Written by eckart.save, which replaces it. Without this line it stays. -->"
_ROWS = {"params": "parameters", "macs": "multiply-adds", "bytes": "bytes"}
_MOST_BYTES = 1 << 20  # of a text that may be ours


def write_card(
    prepared: Path, folder: Path, plan: Plan | None, kind: str, pretrained: bool
) -> None:
    """Prepare a card for a network with a plan, unless the folder has somebody else's.

    Args:
        prepared: where the files of the new network are gathered.
        folder: where they go.
        plan: of the network; None writes nothing.
        kind: name of the network's class.
        pretrained: whether it is a model of ``transformers``.
    """
    if plan is not None and (_is_ours(folder / CARD) or not (folder / CARD).exists()):
        text = "\n".join(_lines(plan, kind, pretrained)) + "\n"
        (prepared / CARD).write_text(text, encoding="utf-8")


def remove_stale_card(folder: Path, plan: Plan | None) -> None:
    """Remove the card of an earlier network where the new one has none."""
    if plan is None and _is_ours(folder / CARD):
        (folder / CARD).unlink()


def _is_ours(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        return False
    return _OURS in path.read_text(encoding="utf-8", errors="replace")


def _lines(plan: Plan, kind: str, pretrained: bool) -> Iterator[str]:
    library = "transformers" if pretrained else "eckart"
    yield from ("---", f"library_name: {library}", "tags: [eckart]", "---", _OURS, "")
    yield from (f"# {kind}, made smaller by eckart", "", "| | before | now |", "|---|---|---|")
    for cost, name in _ROWS.items():
        if cost in plan.costs:
            yield f"| {name} | {plan.totals[cost]:,} | {plan.costs[cost]:,} |"
    yield from ("", _done(plan), "", "```python", "import eckart", "")
    folder = '"path/to/this/folder"'
    call = f"load_pretrained({folder})" if pretrained else f"load(make_model(), {folder})"
    yield from (f"model = eckart.{call}", "```")


def _done(plan: Plan) -> str:
    forms = [choice.form for choice in plan.choices.values()]
    found = {
        "factored": sum(len(form.pieces) > 1 for form in forms),
        "in codes of few bits": sum(bool(form.bits) for form in forms),
        "as they were": len(plan.dense),
    }
    layers = ", ".join(f"{count} {what}" for what, count in found.items() if count)
    channels = sum(len(removal.removed) for removal in plan.removals.values())
    gone = f"; {channels:,} channels removed" if channels else ""
    return f"Layers: {layers}{gone}. Predicted loss: {plan.loss:.3g}."
