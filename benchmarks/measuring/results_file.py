"""Rows in a JSON file that is written after each, so that a run that was stopped goes on."""

import json
from pathlib import Path
from typing import Any, final

Row = dict[str, Any]


@final
class Results:
    """What a file holds, and what is added to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = json.loads(path.read_text()) if path.exists() else []

    def has(self, **what: object) -> bool:
        """Whether there is a row with these values."""
        return any(what.items() <= row.items() for row in self.rows)

    def add(self, *rows: Row) -> None:
        """Print rows and write all of them, these last."""
        for row in rows:
            print(json.dumps(row), flush=True)
        self.rows += rows
        self.path.write_text(json.dumps(self.rows, indent=1) + "\n")
