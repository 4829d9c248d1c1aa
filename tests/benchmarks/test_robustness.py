"""A few kills and a few damaged files of each kind; ``python -m benchmarks faults`` does more."""

import signal
import sys

import pytest

from benchmarks.robustness.damaged_files import all_kinds
from benchmarks.robustness.faults import LOSSES, SIGNALS, killed
from benchmarks.robustness.fuzz import EQUAL, FAILURES, REFUSED, fuzzed
from benchmarks.robustness.killed_work import Subject, all_work

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks and reads /proc")
SUBJECT = Subject()
WORK = {work.name: work for work in all_work(SUBJECT)}
KINDS = {kind.name: kind for kind in all_kinds(SUBJECT)}


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("name", WORK)
def test_a_kill_loses_nothing(name: str, number: signal.Signals):
    row = killed(WORK[name], number, kills=2, seed=0)
    assert {loss: row[loss] for loss in LOSSES} == dict.fromkeys(LOSSES, 0)


@pytest.mark.parametrize("name", KINDS)
def test_damaged_files_are_refused_or_read_as_written(name: str):
    row = fuzzed(KINDS[name], mutations=100, seed=1)
    assert {failure: row[failure] for failure in FAILURES} == dict.fromkeys(FAILURES, 0), row
    assert row[REFUSED] > 50
    assert row[REFUSED] + row[EQUAL] < 100
