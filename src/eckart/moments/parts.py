"""Moments in parts, each of some of the layers, that stay on disk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from eckart.errors import CheckpointError
from eckart.moments.file_format import PARTS
from eckart.moments.record import Moments
from eckart.storage.workspace import StoredSums, Workspace


def stored(path: Path) -> Moments:
    """The moments in a file, of which everything large stays there."""
    whole = Moments.load(path)  # maps the file, and reads of it only what is not a sum
    sums: dict[str, Any] = {
        f: StoredSums(p, dict.fromkeys(getattr(whole, f), path)) for p, f in PARTS.items()
    }
    return replace(whole, **sums)


def layers_of(moments: Moments, among: Iterable[str]) -> set[str]:
    """The layers that some moments are of, those included that turned out to have none."""
    return {*moments.specs, *moments.skipped} & set(among)


def joined(workspace: Workspace) -> Moments:
    """All moments in a workspace, as if they had been gathered at once.

    Raises:
        CheckpointError: some are missing, or damaged.
    """
    parts = [stored(path) for path in workspace.shards]
    wanted = workspace.settings["layers"]
    missing = [n for n in wanted if not any(n in layers_of(part, wanted) for part in parts)]
    if missing or not parts:
        raise CheckpointError(
            f"the moments of {len(missing)} of {len(wanted)} layers are not yet in "
            f"{workspace.directory}: calibrate with it as workspace to go on"
        )
    specs = {name: spec for part in parts for name, spec in part.specs.items()}
    sums: dict[str, Any] = {
        f: StoredSums(p, {k: v for part in parts for k, v in getattr(part, f).files.items()})
        for p, f in PARTS.items()
    }
    return replace(
        next((part for part in parts if part.specs), parts[0]),
        specs={name: specs[name] for name in wanted if name in specs},
        rows={key: rows for part in parts for key, rows in part.rows.items()},
        skipped={name: why for part in parts for name, why in part.skipped.items()},
        **sums,
    )
