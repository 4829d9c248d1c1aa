"""A few kills and a few damaged files of each kind; ``python -m benchmarks faults`` does more."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.robustness.faults import LOSSES, SIGNALS
from benchmarks.robustness.fuzz import FAILURES, REFUSED

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and reads /proc")
ROOT = Path(__file__).parents[2]


def rows(output: Path, name: str, *options: str) -> list[dict[str, Any]]:
    """What a measurement finds in a process of its own, without the type checks of the tests."""
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    command = [sys.executable, "-m", "benchmarks", name, "--output", str(output), *options]
    done = subprocess.run(command, env=paths, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(output.read_text())
    return found


def test_a_kill_loses_nothing(tmp_path: Path):
    found = rows(tmp_path / "faults.json", "faults", "--kills", "6")
    assert len(found) == 6 * len(SIGNALS)
    assert sum(row["before the end"] for row in found) > 6
    assert [row for row in found if any(row[loss] for loss in LOSSES)] == []


def test_damaged_files_are_refused_or_read_as_written(tmp_path: Path):
    found = rows(tmp_path / "fuzz.json", "fuzz", "--mutations", "100", "--seed", "1")
    assert len(found) == 9
    assert [row for row in found if any(row[failure] for failure in FAILURES)] == []
    assert all(50 < row[REFUSED] < 100 for row in found)
