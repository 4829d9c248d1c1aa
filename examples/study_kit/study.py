"""A study's arguments, what it has measured so far, and the page and figures that it writes."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
import torch
from safetensors.torch import load_model, save_model
from torch import nn

from study_kit.made_by import made_by, measured_by

Row = dict[str, Any]


@dataclass(frozen=True)
class Study:
    """One run of a study.

    Attributes:
        name: the name of its page and of its figures.
        data: id on the hub, or a folder.
        quick: whether to run at a size that is small enough for a test.
        seed: seed of everything that is random.
        output: folder of the page and the figures.
        cache: folder of trained networks and measured rows, from which a run continues.
        options: the other arguments of the command line.
        seconds: processor time of each part that was measured, now or in an earlier run.
    """

    name: str
    data: str
    quick: bool
    seed: int
    output: Path
    cache: Path
    options: argparse.Namespace
    seconds: dict[str, float] = field(default_factory=dict)

    def network(
        self, label: str, make: Callable[[], nn.Module], train: Callable, *how: Any
    ) -> nn.Module:
        """A trained network in eval mode: from the cache, else from `train()`.

        The cached file is named after the network's code and `how` it was trained: see `made_by`.
        """
        network = make()
        path = self._cached(f"{label}-{made_by(network, *how)}.safetensors")
        if path.exists():
            load_model(network, path)
        else:
            network = train()
            save_model(network, path)
        return network.eval()

    def rows(self, label: str, measure: Callable[[], Sequence[Row]], *how: Any) -> list[Row]:
        """Measured rows, from the cache if they are there; the first says how long they took.

        The cached file is named after the code of `measure` and after `how`, what else the rows
        depend on: see `measured_by`. After a change of code further down, delete the cache.
        """
        path = self._cached(f"{label}-{measured_by(measure, *how)}.json")
        if not path.exists():
            start = time.process_time()
            rows = list(measure())
            rows[0]["part_seconds"] = time.process_time() - start
            path.write_text(json.dumps(rows, indent=1) + "\n")
            print(f"{label}: {rows[0]['part_seconds']:.0f} s of processor time", flush=True)
        rows = json.loads(path.read_text())
        self.seconds[label] = rows[0]["part_seconds"]
        return rows

    def some(self, values: Sequence[Any]) -> Sequence[Any]:
        """All values, or the first two in a quick run."""
        return values[:2] if self.quick else values

    def _cached(self, file: str) -> Path:
        size = "-quick" if self.quick else ""
        folder = self.cache / f"{self.name}-seed{self.seed}{size}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / file

    def put(self, marker: str, text: str) -> None:
        """Write a text between its markers in the page, or at the end if there are no markers."""
        page = self.output / f"study-{self.name}.md"
        start, end = f"<!-- {marker} -->", f"<!-- end {marker} -->"
        whole = page.read_text() if page.exists() else ""
        if start not in whole:
            whole += f"{start}\n{end}\n"
        before, _, rest = whole.partition(start)
        page.write_text(f"{before}{start}\n{text}\n{end}{rest.partition(end)[2]}")

    def minutes(self) -> float:
        """Processor time of all parts that this run is made of."""
        return sum(self.seconds.values()) / 60

    def sign(
        self,
        dense: Row,
        but: str = ", not counting the training of the dense network",
        seeds: str = "",
    ) -> None:
        """Write how many images everything was scored on, and how long the parts took.

        Args:
            dense: the row of the dense network.
            but: what the time leaves out, or includes.
            seeds: which seeds, in words, if not the study's one.
        """
        self.put(
            "run",
            f"{dense['images']:,} test images; one standard error near the dense network's "
            f"{100 * dense['accuracy']:.2f} % is {100 * _error(dense):.2f} points.\n"
            f"{seeds or f'Seed {self.seed}'}, one run; {self.minutes():.0f} minutes of processor "
            f"time on one thread{but}.",
        )

    @contextmanager
    def figure(self, label: str, panels: int = 1, **options: Any) -> Iterator[Any]:
        """Axes side by side to draw on; saved as a small PNG at the end."""
        matplotlib.use("Agg")
        from matplotlib import pyplot as plt

        drawing, axes = plt.subplots(1, panels, figsize=(4.6 * panels, 3.6), **options)
        yield axes
        for panel in [axes] if panels == 1 else axes:
            panel.grid(alpha=0.3)
            if panel.get_legend_handles_labels()[0]:
                panel.legend(fontsize=7)
        drawing.tight_layout()
        drawing.savefig(self.output / f"study-{self.name}-{label}.png", dpi=100)
        plt.close(drawing)


def _error(row: Row) -> float:
    return (row["accuracy"] * (1 - row["accuracy"]) / row["images"]) ** 0.5


def begin(name: str, data: str | None, given: Sequence[str] | None, **options: Any) -> Study:
    """Read the command line of a study; `options` are its own options with their defaults.

    Without `data`, the study brings its own, and has no option for it.
    """
    parser = argparse.ArgumentParser(description=f"Study: {name}")
    if data is not None:
        parser.add_argument("--data", default=data, help="id on the hub, or a local folder")
    parser.add_argument("--quick", action="store_true", help="seconds, to see that it runs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("docs/results"))
    parser.add_argument("--cache", type=Path, default=Path("examples/.cache"))
    parser.add_argument("--threads", type=int, default=1)
    for option, default in options.items():
        parser.add_argument(f"--{option}", type=type(default), default=default)
    read = parser.parse_args(given)
    torch.set_num_threads(read.threads)
    read.output.mkdir(parents=True, exist_ok=True)
    where = "" if data is None else read.data
    return Study(name, where, read.quick, read.seed, read.output, read.cache, read)


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; None is an empty cell."""
    lines = [head, ["---"] * len(head)]
    lines += [["" if cell is None else str(cell) for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(fraction: float | None, digits: int = 2) -> str | None:
    """A fraction in percent; None stays None."""
    return None if fraction is None else f"{100 * fraction:.{digits}f}"
