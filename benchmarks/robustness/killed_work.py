"""The work that is killed: what it writes, what may be found afterwards, what it ends with."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import eckart
from eckart import Frontier, Moments
from eckart.network.plan_attribute import plan_of
from eckart.report import write_report
from eckart.storage.tensors import opened_tensors

NONE, OLD, NEW, MIXED = "none", "old", "new", "mixed"
KEEPS = (0.9, 0.7, 0.5)
LAYER_BYTES = 50_000  # enough for the sums of any one layer, and of no two


@dataclass(frozen=True)
class Work:
    """Work that can be begun again in the folder where it was killed.

    Attributes:
        name: in the results.
        prepare: puts into a folder what was there before.
        run: the work itself; called again, it goes on.
        found: what is in the folder now: one of the four words above, or an error.
        is_whole: whether the work was done as if it had never been killed, by its result.
    """

    name: str
    prepare: Callable[[Path], object]
    run: Callable[[Path], Any]
    found: Callable[[Path], str]
    is_whole: Callable[[Path, Any], bool]


class Subject:
    """A small network, and all that can be made of it."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(
            nn.Linear(24, 48), nn.ReLU(), nn.Linear(48, 40), nn.ReLU(), nn.Linear(40, 5)
        ).eval()
        self.batches = [torch.randn(32, 24) for _ in range(4)]
        self.moments = eckart.calibrate(self.model, self.batches, progress=False)
        self.fewer = eckart.calibrate(self.model, self.batches[:2], progress=False)
        self.curves = eckart.curves(self.model, self.moments, progress=False)
        self.small, self.smaller = (self._kept(keep) for keep in (0.8, 0.5))
        self.worse = copy.deepcopy(self.smaller)  # so that there is something to heal
        with torch.no_grad():
            for parameter in self.worse.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.3)

    def _kept(self, keep: float) -> nn.Module:
        plan = eckart.allocate(self.curves, eckart.Budget(params=keep))
        return eckart.apply(self.model, plan, self.moments)

    def score(self, model: nn.Module) -> float:
        """Closeness to the dense network's outputs; higher is better."""
        with torch.no_grad():
            return -float((model(self.batches[0]) - self.model(self.batches[0])).square().mean())

    def frontier(self, path: Path | None, keeps: tuple[float, ...] = KEEPS) -> Frontier:
        """Some points, measured one after the other."""
        return eckart.frontier(
            self.model,
            self.moments,
            self.score,
            keeps=keeps,
            options=self.curves,
            baselines=False,
            path=path,
            progress=False,
        )

    def calibrated(self, workspace: Path) -> Moments:
        """The moments, a layer at a time."""
        return eckart.calibrate(
            self.model, self.batches, workspace=workspace, memory_bytes=LAYER_BYTES, progress=False
        )

    def healed(self, checkpoint: Path | None) -> nn.Module:
        """A damaged network after some gradient steps."""
        torch.manual_seed(1)
        found = eckart.heal(
            self.worse,
            self.model,
            self.batches,
            treatments=["distil"],
            steps=30,
            checkpoint=checkpoint,
            progress=False,
        )
        return found.model


def all_work(subject: Subject) -> list[Work]:
    """Everything that eckart writes, small."""
    return [
        saving(subject),
        moments_file(subject),
        workspace(subject),
        frontier(subject),
        report(subject),
        healing(subject),
    ]


def saving(subject: Subject) -> Work:
    """``save`` over a network with another plan."""

    def found(folder: Path) -> str:
        if not (folder / "eckart.json").exists():
            return NONE
        again = eckart.load(copy.deepcopy(subject.model), folder)
        same = [same_network(again, network) for network in (subject.small, subject.smaller)]
        return (OLD, NEW)[same.index(True)] if any(same) else MIXED

    return Work(
        "save",
        lambda folder: eckart.save(subject.small, folder),
        lambda folder: eckart.save(subject.smaller, folder),
        found,
        lambda folder, _: found(folder) == NEW,
    )


def moments_file(subject: Subject) -> Work:
    """``Moments.save`` over a file of other moments."""

    def found(folder: Path) -> str:
        again = Moments.load(folder / "moments")
        same = [same_moments(again, moments) for moments in (subject.fewer, subject.moments)]
        return (OLD, NEW)[same.index(True)] if any(same) else MIXED

    return Work(
        "moments",
        lambda folder: subject.fewer.save(folder / "moments"),
        lambda folder: subject.moments.save(folder / "moments"),
        found,
        lambda folder, _: found(folder) == NEW,
    )


def workspace(subject: Subject) -> Work:
    """``calibrate`` in a workspace, a layer at a time."""
    whole = subject.moments

    def found(folder: Path) -> str:
        paths = sorted((folder / "workspace").glob("moments-*"))
        parts = [Moments.load(path) for path in paths]
        same = all(
            torch.equal(part.grams[key], whole.grams[key]) for part in parts for key in part.grams
        )
        return MIXED if not same else NEW if parts else NONE

    return Work(
        "workspace",
        lambda folder: None,
        lambda folder: subject.calibrated(folder / "workspace"),
        found,
        lambda folder, moments: same_moments(moments, whole),
    )


def frontier(subject: Subject) -> Work:
    """``frontier`` with a file that takes each point."""
    whole = subject.frontier(None)

    def found(folder: Path) -> str:
        if not (folder / "frontier.json").exists():
            return NONE
        points = Frontier.load(folder / "frontier.json").points
        return NEW if points and points == whole.points[: len(points)] else MIXED

    return Work(
        "frontier",
        lambda folder: None,
        lambda folder: subject.frontier(folder / "frontier.json"),
        found,
        lambda folder, made: made == whole == Frontier.load(folder / "frontier.json"),
    )


def report(subject: Subject) -> Work:
    """``write_report`` over another page."""
    pages = [subject.frontier(None, keeps) for keeps in (KEEPS[:2], KEEPS)]

    def write(folder: Path, page: int, name: str = "page.html") -> bytes:
        return write_report(pages[page], subject.curves, folder / name).read_bytes()

    def found(folder: Path) -> str:
        content = (folder / "page.html").read_bytes()
        same = [content == write(folder, page, "again.html") for page in range(2)]
        (folder / "again.html").unlink()
        return (OLD, NEW)[same.index(True)] if any(same) else MIXED

    return Work(
        "report",
        lambda folder: write(folder, 0),
        lambda folder: write(folder, 1),
        found,
        lambda folder, _: found(folder) == NEW,
    )


def healing(subject: Subject) -> Work:
    """``heal`` by gradient steps, with a checkpoint."""
    whole = subject.healed(None)
    if same_network(whole, subject.worse):
        raise RuntimeError("healing finds nothing better: a kill would lose nothing")

    def found(folder: Path) -> str:
        path = folder / "run" / "distil.safetensors"
        if not path.exists():
            return NONE
        with opened_tensors(path) as file:
            file.check()
        return NEW

    return Work(
        "healing",
        lambda folder: None,
        lambda folder: subject.healed(folder / "run"),
        found,
        lambda folder, model: same_tensors(model.state_dict(), whole.state_dict()),
    )


def same_tensors(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    """Whether both hold the same numbers under the same names."""
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def same_network(left: nn.Module, right: nn.Module) -> bool:
    """Whether weights and plans are equal."""
    same = same_tensors(left.state_dict(), right.state_dict())
    return same and plan_of(left) == plan_of(right)


def same_moments(left: Moments, right: Moments) -> bool:
    """Whether every number and all that is said of them is equal."""
    for field in fields(Moments):
        mine, other = getattr(left, field.name), getattr(right, field.name)
        if not field.compare:
            continue
        if not same_values(mine, other):
            return False
    return True


def same_values(left: Any, right: Any) -> bool:
    """Equality of what may hold tensors, at any depth."""
    if isinstance(left, Tensor):
        return isinstance(right, Tensor) and torch.equal(left, right)
    if isinstance(left, Mapping):
        keys = isinstance(right, Mapping) and left.keys() == right.keys()
        return keys and all(same_values(left[k], right[k]) for k in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same_values, left, right))
    return bool(left == right)
