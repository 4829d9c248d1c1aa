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


Rows = list[dict[str, Any]]
BOTH = """
import sys
from pathlib import Path
from benchmarks.robustness import faults, fuzz

faults.measure(Path(sys.argv[1], "faults.json"), kills=3)
fuzz.measure(Path(sys.argv[1], "fuzz.json"), mutations=100, seed=1)
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What both find, in one process of their own, without the type checks of the tests."""
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    output = tmp_path_factory.mktemp("robustness")
    command = [sys.executable, "-c", BOTH, str(output)]
    done = subprocess.run(command, env=paths, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return output


def test_a_kill_loses_nothing(measured: Path):
    found: Rows = json.loads((measured / "faults.json").read_text())
    assert len(found) == 6 * len(SIGNALS)
    assert sum(row["before the end"] for row in found) > 3
    assert [row for row in found if any(row[loss] for loss in LOSSES)] == []


def test_damaged_files_are_refused_or_read_as_written(measured: Path):
    found: Rows = json.loads((measured / "fuzz.json").read_text())
    assert len(found) == 9
    assert [row for row in found if any(row[failure] for failure in FAILURES)] == []
    assert all(50 < row[REFUSED] < 100 for row in found)
