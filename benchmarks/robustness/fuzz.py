"""Files of every kind, damaged at random: refused, or read as they were written.

Half of the mutations are of bytes, a quarter of the structure, and a quarter are forged: the
digests are right. What is forged may be read, since nobody can tell, and must then be usable or be
refused. A mutation is known by its kind, its number and the seed, so that it can be made again.
"""

import os
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import FrameType

from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results, Row
from benchmarks.robustness.damaged_files import FileKind, Files, all_kinds
from benchmarks.robustness.faults import versions
from benchmarks.robustness.killed_work import Subject
from benchmarks.robustness.mutations import damaged
from eckart.errors import EckartError

CHUNK = 500  # mutations of one fork
SECONDS, BYTES = 2.0, 1 << 30  # the most that reading one file may take
REFUSED, EQUAL, FORGED = "refused", "read as written", "forged, read"
RAW, HANG, MEMORY, CHANGED = "raw errors", "hangs", "memory", "changed"
FAILURES = (RAW, HANG, MEMORY, CHANGED)
SHOWN = 20  # failures that are described


class Hang(BaseException):
    """Reading takes too long."""


def measure(
    output: Path, *, seed: int = 0, mutations: int = 10_000, kinds: Sequence[str] = ()
) -> None:
    """All kinds of files, or some; what the results hold already is not done again."""
    results = Results(output)
    for kind in all_kinds(Subject()):
        if (not kinds or kind.name in kinds) and not results.has(kind=kind.name):
            results.add(fuzzed(kind, mutations, seed))


def fuzzed(kind: FileKind, mutations: int, seed: int) -> Row:
    """Counts of what became of the mutations of one kind."""
    begun = time.perf_counter()
    counts: Counter[str] = Counter()
    described: list[str] = []
    at = 0
    while at < mutations:
        lines = forked(kind, range(at, min(at + CHUNK, mutations)), seed)
        for line in lines:
            outcome, _, text = line.partition("\t")
            counts[outcome] += 1
            if outcome in FAILURES:
                described.append(f"{at}: {outcome}: {text}")
            at += 1
    outcomes = (REFUSED, EQUAL, FORGED, *FAILURES)
    return {
        "kind": kind.name,
        "mutations": mutations,
        **{outcome: counts[outcome] for outcome in outcomes},
        "failures": described[:SHOWN],
        "seconds": time.perf_counter() - begun,
        "versions": versions(),
    }


def forked(kind: FileKind, indices: range, seed: int) -> list[str]:
    """One line per mutation, from a child; if it dies, the last is of the one that killed it."""
    sys.stdout.flush()
    with tempfile.NamedTemporaryFile("r") as log:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with open(log.name, "w", buffering=1) as told, bounded():
                    for line in outcomes(kind, indices, seed):
                        told.write(line + "\n")
                code = 0
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        lines = log.read().splitlines()
    if code != 0 and len(lines) < len(indices):
        lines.append(f"{RAW}\tthe process died with {code}")
    return lines


@contextmanager
def bounded() -> Iterator[None]:
    """Little memory beyond what is used now, and an alarm by the clock of the processor."""
    warnings.simplefilter("ignore")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    def late(number: int, frame: FrameType | None) -> None:
        raise Hang

    signal.signal(signal.SIGPROF, late)
    yield


def outcomes(kind: FileKind, indices: range, seed: int) -> Iterator[str]:
    """What becomes of each mutation, with the error where it is a failure."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        put(folder, kind.files)
        for index in indices:
            changes, by_forger = mutation(kind, Random(f"{kind.name} {index} {seed}"))
            put(folder, changes)
            yield " ".join(outcome(kind, folder, by_forger).split(" "))
            for path in changes.keys() - kind.files.keys():
                (folder / path).unlink()
            put(folder, kind.files)


def put(folder: Path, files: Files) -> None:
    """Write some files of a folder."""
    for name, data in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)


def mutation(kind: FileKind, chance: Random) -> tuple[Files, bool]:
    """Changed files, and whether their digests are right."""
    data, what = kind.files[kind.target], chance.random()
    if what < 0.5:
        return {kind.target: damaged(data, chance)}, False
    if what < 0.75:
        return {kind.target: kind.restructured(data, chance)}, False
    return kind.forge(chance), True


def outcome(kind: FileKind, folder: Path, by_forger: bool) -> str:
    """What comes of loading a folder."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        found = kind.load(folder)
        if kind.same(found):
            return EQUAL
        if not by_forger:
            return f"{CHANGED}\t"
        kind.use(found)
        return FORGED
    except EckartError as error:
        str(error).encode()
        return REFUSED
    except Hang:
        return f"{HANG}\t"
    except MemoryError as error:
        return f"{MEMORY}\t{error!r:.200}"
    except BaseException as error:
        text = f"{type(error).__name__}: {error!s:.300}"
        return f"{RAW}\t{_on_one_line(text)}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _on_one_line(text: str) -> str:
    return " ".join(text.encode("ascii", "backslashreplace").decode().split())


MEASUREMENT = Measurement(measure)
