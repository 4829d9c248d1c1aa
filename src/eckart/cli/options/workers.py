"""The option that says who works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from eckart.cli.options.parsing import usage_error
from eckart.cli.options.shared import option


def _known_workers(text: str) -> str:
    """The text itself, if it is a number of processes or "ray"."""
    if text != "ray" and not (text.isdecimal() and int(text) > 0):
        raise usage_error("--workers", f"{text!r} is not a number of processes, 1 or more, or ray")
    return text


@dataclass(frozen=True)
class WorkerOptions:
    """Who works."""

    workers: Annotated[
        str,
        option(
            "Run",
            "Local processes that share the work, with one thread each; ray: a Ray cluster.",
            callback=_known_workers,
        ),
    ] = "1"

    @property
    def given(self) -> int | str:
        """As the functions take it."""
        return self.workers if self.workers == "ray" else int(self.workers)
