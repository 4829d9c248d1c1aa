"""Results as JSON, under one rule for their names: `benchmarks/results/NAME.json`."""

import json
from pathlib import Path
from typing import Any, final

Row = dict[str, Any]


def results_path(name: str) -> Path:
    """The path at which the results of a measurement are committed."""
    return Path("benchmarks/results") / f"{name}.json"


def committed(name: str) -> Any:
    """The committed results of a measurement."""
    return json.loads(results_path(name).read_text(encoding="utf-8"))


def write_json(content: object, path: Path) -> None:
    """Write the results as JSON."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


@final
class Results:
    """Rows in a file that is written after each row, so that a stopped run can continue."""

    def __init__(self, path: Path) -> None:
        """Read the rows that are already in the file."""
        self.path = path
        self.rows: list[Row] = json.loads(path.read_text("utf-8")) if path.exists() else []

    def has(self, **what: object) -> bool:
        """Whether there is a row with these values."""
        return any(what.items() <= row.items() for row in self.rows)

    def add(self, *rows: Row) -> None:
        """Print the rows, append them and write the file."""
        for row in rows:
            print(json.dumps(row, ensure_ascii=False), flush=True)
        self.rows += rows
        write_json(self.rows, self.path)

    def forget(self, **what: object) -> None:
        """Drop the rows with these values, so that they are measured again."""
        self.rows = [row for row in self.rows if not what.items() <= row.items()]
