"""Where the ranks of a process group run, and which of them is gone."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from eckart.moments.distributed import of_all_ranks

_SECONDS = 2.0  # that the system takes at most to end a process whose connections are closed


@dataclass(frozen=True)
class Place:
    """A process of a machine."""

    host: str
    process: int

    @property
    def lives(self) -> bool:
        """Whether the process is there; asked on its own machine."""
        try:
            os.kill(self.process, 0)
            state = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()[0]
        except ProcessLookupError:
            return False
        except OSError:  # another user's, or a system without /proc
            return True
        return state != "Z"


def places() -> tuple[Place, ...]:
    """Where every rank runs, in order; every rank has to ask."""
    return tuple(of_all_ranks(Place(socket.gethostname(), os.getpid())))


def gone(everyone: Sequence[Place]) -> str:
    """Which rank is gone, as far as this machine can tell, once the group no longer answers."""
    here, end = socket.gethostname(), monotonic() + _SECONDS
    ours = {rank: place for rank, place in enumerate(everyone) if place.host == here}
    while monotonic() < end:
        dead = {rank: place for rank, place in ours.items() if not place.lives}
        if dead:
            return _listed(dead, "gone")
        sleep(0.05)
    away = {rank: place for rank, place in enumerate(everyone) if rank not in ours}
    return _listed(away, "gone, or does not answer") if away else "a rank does not answer"


def _listed(ranks: dict[int, Place], what: str) -> str:
    named = [f"rank {rank} (process {p.process} on {p.host})" for rank, p in ranks.items()]
    return f"{' or '.join(named)} is {what}"
