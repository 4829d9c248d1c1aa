"""What is written down about one network on its way through the stages."""

import json
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from benchmarks.measuring.clocks import timed
from benchmarks.measuring.results_file import Row
from eckart.errors import EckartError

T = TypeVar("T")
PASSED, NAMED, FAILED = "passed", "named reason", "failed"
SLOW, DIED = "out of time", "died"


class Wrong(Exception):
    """A stage ran, but what came out is not what was promised."""


class Late(BaseException):
    """The processor time of a network is used up."""


@dataclass
class Notes:
    """A row that is on disk before each stage, so that it survives the process.

    Attributes:
        path: of the row.
        row: what is known.
    """

    path: Path
    row: Row = field(default_factory=dict)

    def stage(self, name: str, run: Callable[[], T]) -> T:
        """Run one stage, and keep its processor time."""
        self.add(stage=name)
        seconds, found = timed(run, time.process_time)
        self.row["seconds"] = {**self.row.get("seconds", {}), name: round(seconds, 2)}
        return found

    def add(self, **known: object) -> None:
        """Write down what is known now."""
        self.row |= known
        self.path.write_text(json.dumps(self.row), encoding="utf-8")

    def ended(self, error: BaseException | None) -> None:
        """Write down how it ended."""
        if error is None:
            self.row.pop("stage")
            self.add(outcome=NAMED if "reason" in self.row else PASSED)
            return
        outcome = NAMED if isinstance(error, EckartError) else FAILED
        what = SLOW if isinstance(error, Late) else f"{type(error).__name__}: {error}"[:1000]
        self.add(outcome=outcome, error=what, at=_places(error))


def _places(error: BaseException) -> list[str]:
    """Where it was raised: the innermost frame, and the three innermost of eckart."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/src/eckart/" in frame.filename]
    chosen = [*own[-3:], *frames[-1:]]
    places = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in chosen]
    return list(dict.fromkeys(places))
