"""The noun: one piece of work that depends on nothing but its inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

CPU = torch.device("cpu")


def always(result: Any) -> bool:
    """True."""
    return True


@dataclass(frozen=True)
class Task:
    """Work on one layer, one group of channels or one point of a frontier.

    The title names everything that the result depends on, so a result that was kept under the title
    is found again instead of made. A task may run here or in a copy of this process: the result is
    the same to the bit.

    Attributes:
        title: names the inputs; empty for what is never kept.
        kind: the class of the result: a frozen dataclass of tensors, numbers, texts, tuples, and
            dataclasses of these, see ``eckart.methods.state_file``.
        work: makes the result in this process, or in a copy of it.
        sent: gives a function that makes the result on another machine, and holds all that it
            needs for that; None for work that cannot leave this machine.
        paths: files and folders that the function reads there.
        device: where the tensors of the result are.
        lasting: whether a result may be kept; one that depends on how long something took may not.
        size: about how much work it is; the largest tasks begin first.
    """

    title: str
    kind: type[Any]
    work: Callable[[], Any]
    sent: Callable[[], Callable[[], Any]] | None = None
    paths: tuple[Path, ...] = ()
    device: torch.device = CPU
    lasting: Callable[[Any], bool] = always
    size: float = 0.0


Done = Iterator[tuple[Task, Any]]
"""Tasks with their results, as they become known."""


@dataclass(frozen=True)
class Text:
    """A result that is text, such as JSON."""

    text: str
