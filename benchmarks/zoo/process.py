"""A network in a process of its own, within limits of processor time and memory."""

import json
import os
import resource
import signal
import sys
import tempfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from benchmarks.measuring.results_file import Row
from benchmarks.zoo.network import Network
from benchmarks.zoo.notes import DIED, FAILED, Late, Notes
from benchmarks.zoo.walk import walk

BYTES = 6 << 30  # of address space, beyond what is used at the start
GRACE = 20  # seconds after the alarm until the process is killed


@dataclass
class Process:
    """A child at work.

    Attributes:
        network: what it works on.
        seconds: of processor time that it may take.
        pid: of the child.
    """

    network: Network
    seconds: int
    export: bool
    seed: int
    folder: tempfile.TemporaryDirectory[str] = field(default_factory=tempfile.TemporaryDirectory)
    pid: int = field(init=False)

    def __post_init__(self) -> None:
        """Fork; the child inherits the libraries that are loaded."""
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._work()
            finally:
                os._exit(0)

    def _work(self) -> None:
        notes = Notes(Path(self.folder.name) / "row.json")
        notes.add(stage="make")
        with open(Path(self.folder.name) / "output", "w") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        warnings.simplefilter("ignore")
        try:
            limit(self.seconds)
            walk(self.network, notes, export=self.export, seed=self.seed)
        except BaseException as error:
            resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
            notes.ended(error)
        else:
            notes.ended(None)

    def row(self, status: int) -> Row:
        """What became of it, after it has ended with this status."""
        found: Row = json.loads((Path(self.folder.name) / "row.json").read_text("utf-8"))
        if "outcome" not in found:
            code = os.waitstatus_to_exitcode(status)
            found |= {"outcome": FAILED, "error": f"{DIED} with {code}", "at": []}
        self.folder.cleanup()
        known = {key: getattr(self.network, key) for key in ("name", "library", "family")}
        return known | found

    def kill(self) -> None:
        """End the child."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.folder.cleanup()


def limit(seconds: int) -> None:
    """Allow this much processor time, then raise `Late`; and some memory beyond what is used."""

    def late(number: int, frame: FrameType | None) -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds + GRACE, seconds + GRACE))  # once only
        raise Late

    signal.signal(signal.SIGXCPU, late)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + GRACE))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + BYTES, -1))
