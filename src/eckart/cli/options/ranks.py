"""One command on several ranks, as ``torchrun`` starts it: each calibrates on its share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType

from eckart.cli.options.shared import Examples
from eckart.errors import InputError

_SECONDS = 600  # that ranks wait for each other


def _interrupted(number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C does; a process that was started in the background ignores that itself."""
    handler = signal.getsignal(signal.SIGINT)
    stop = handler if callable(handler) else signal.default_int_handler
    stop(number, frame)


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this one is."""

    rank: int = 0
    size: int = 1

    @classmethod
    def here(cls) -> Ranks:
        """What torchrun says; one process without it.

        Raises:
            InputError: the variables make no sense.
        """
        texts = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
        if not all(text.isdecimal() for text in texts) or int(texts[0]) >= int(texts[1]):
            raise InputError(
                f"RANK={texts[0]!r:.20} and WORLD_SIZE={texts[1]!r:.20} do not name one of some "
                "processes: start with torchrun, or unset both"
            )
        return cls(int(texts[0]), int(texts[1]))

    @property
    def leads(self) -> bool:
        """Whether this one writes and speaks."""
        return self.rank == 0

    def share(self, batches: Examples) -> Examples:
        """The batches of this rank: they are dealt out in turn, so some have one more."""
        return batches if self.size == 1 else batches.dealt(self.rank, self.size)

    def beside(self, path: Path) -> Path:
        """Where a rank keeps what it has if another one fails."""
        return path if self.size == 1 else path.with_name(f"{path.name}.rank{self.rank}")

    @contextmanager
    def joined(self) -> Iterator[None]:
        """The process group of all ranks.

        When one of them dies, torchrun asks the others to end. They then stop as after Ctrl-C.
        """
        if self.size == 1:
            yield
            return
        import torch.distributed as dist

        before = signal.signal(signal.SIGTERM, _interrupted)
        dist.init_process_group("gloo", timeout=timedelta(seconds=_SECONDS))
        try:
            yield
        finally:
            dist.destroy_process_group()
            signal.signal(signal.SIGTERM, before)
