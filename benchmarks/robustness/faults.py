"""Runs killed at random moments: whether anything is lost, half written or mixed afterwards.

Each run is a fork, so that torch is imported once. Every kind of work has a third of its kills by
each of SIGKILL, SIGTERM and SIGINT. Half of them come after a random part of the time that the work
takes, and half after its first file is in place, when there is something to lose. Then the folder
is looked at, and the same call must give what it would have given without the kill.
"""

import json
import os
import platform
import random
import signal
import statistics
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results, Row
from benchmarks.robustness.killed_work import MIXED, NONE, Subject, Work, all_work
from eckart.errors import CalibrationInterrupted, FrontierInterrupted

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
LOSSES = ("unloadable", "empty", "mixed", "unequal", "raw errors", "left over")
FINISHED, UNEQUAL, RAW, STOPPED = 0, 1, 3, 130
STOPPING = (KeyboardInterrupt, CalibrationInterrupted, FrontierInterrupted)


def measure(output: Path, *, seed: int = 0, kills: int = 100, kinds: Sequence[str] = ()) -> None:
    """All kinds of work, or some; what the results hold already is not done again."""
    results = Results(output)
    for work in all_work(Subject()):
        if kinds and work.name not in kinds:
            continue
        missing = [n for n in SIGNALS if not results.has(kind=work.name, signal=n.name)]
        runs = [undisturbed(work) for _ in range(3)] if missing else []
        times = [statistics.median(column) for column in zip(*runs, strict=True)]
        for number in missing:
            share = (kills + len(SIGNALS) - 1 - SIGNALS.index(number)) // len(SIGNALS)
            results.add(killed(work, number, share, times, seed))


def killed(
    work: Work, number: signal.Signals, kills: int, times: Sequence[float], seed: int
) -> Row:
    """Kill one kind of work by one signal, and count what was lost.

    Args:
        work: what is killed.
        number: the signal.
        kills: how often.
        times: seconds until the first of its files is in place, if there are several, and until
            its end.
        seed: of the moments of the kills.
    """
    first, seconds = times
    chance = random.Random(f"{work.name} {number} {seed}")
    begun = time.perf_counter()
    counts: Counter[str] = Counter()
    for kill in range(kills):
        delay = chance.uniform(first if kill % 2 else 0.0, seconds)
        with tempfile.TemporaryDirectory() as folder:
            counts.update(one_kill(work, Path(folder), number, delay))
    return {
        "kind": work.name,
        "signal": number.name,
        "kills": kills,
        "before the end": counts["before the end"],
        "of them after the first file": counts["in the middle"],
        **{loss: counts[loss] for loss in LOSSES},
        "seconds until the first file": first,
        "seconds of a run": seconds,
        "seconds": time.perf_counter() - begun,
        "versions": versions(),
    }


def one_kill(work: Work, folder: Path, number: signal.Signals, delay: float) -> list[str]:
    """What is to be counted of one kill."""
    work.prepare(folder)
    counted = []
    code = forked(lambda: outcome(work, folder), number, delay)
    if code == RAW:
        counted.append("raw errors")
    if code != FINISHED:
        counted.append("before the end")
    try:
        found = work.found(folder)
    except Exception:
        traceback.print_exc()
        counted.append("unloadable" if any(map(_size, folder.rglob("*"))) else "empty")
        return counted
    counted += ["mixed"] * (found == MIXED)
    counted += ["in the middle"] * (code != FINISHED and found != NONE)
    if forked(lambda: outcome(work, folder)) != FINISHED:
        counted.append("unequal")
    left = [path.name for path in folder.rglob(".*.eckart-*")]
    return [*counted, *(["left over"] if left else [])]


def outcome(work: Work, folder: Path) -> int:
    """The exit code of a run that is not killed."""
    try:
        result = work.run(folder)
    except STOPPING:
        return STOPPED
    except BaseException:
        traceback.print_exc()
        return RAW
    return FINISHED if work.is_whole(folder, result) else UNEQUAL


def forked(run: Callable[[], int], number: signal.Signals | None = None, delay: float = 0.0) -> int:
    """Run in a child, sent a signal after a delay, and return its exit code, or minus the signal.

    The delay counts from when the child begins.
    """
    ready, begin = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = RAW
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.write(begin, b"!")
            code = run()
        except KeyboardInterrupt:
            code = STOPPED
        finally:
            os._exit(code)
    os.read(ready, 1)
    os.close(ready)
    os.close(begin)
    if number is not None:
        time.sleep(delay)
        os.kill(child, number)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def undisturbed(work: Work) -> tuple[float, float]:
    """Seconds of a run that nobody kills: until the first of several files, and until the end."""
    with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile("r") as clock:
        work.prepare(Path(folder))
        code = forked(lambda: _timed(work, Path(folder), Path(clock.name)))
        if code != FINISHED:
            raise RuntimeError(f"{work.name} ends with {code} when nobody kills it")
        first, last = json.load(clock)
        return first, last


def _timed(work: Work, folder: Path, clock: Path) -> int:
    replace, times = os.replace, list[float]()

    def noted(source: Path, target: Path) -> None:
        replace(source, target)
        times.append(time.perf_counter() - begun)

    os.replace = noted  # type: ignore[assignment]
    begun = time.perf_counter()
    result = work.run(folder)
    total = time.perf_counter() - begun
    first = times[0] if len(times) > 1 else 0.0  # one file alone comes at the end
    clock.write_text(json.dumps([first, total]))
    return FINISHED if work.is_whole(folder, result) else UNEQUAL


def versions() -> dict[str, str]:
    """Of all that matters."""
    return {
        "eckart": version("eckart"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
    }


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


MEASUREMENT = Measurement(measure)
