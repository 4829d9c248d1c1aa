"""``eckart demo``: the whole chain on two networks that are trained on the spot."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from eckart.cli.options.grouping import grouped
from eckart.cli.options.shared import RunOptions, option
from eckart.cli.shown.output import Result, folder_to_write

if TYPE_CHECKING:
    from rich.console import RenderableType

_THREADS = 1  # the networks are so small that more would wait for one another


@grouped
def demo_command(
    run: RunOptions,
    *,
    output: Annotated[Path, option("Run", "Folder for what it writes.")] = Path("demo"),
    seed: Annotated[int, option("Run", "Of weights, order of images and probes.")] = 0,
) -> Result:
    """Train two small networks, compress them, and write a page for each; no network access."""
    start = time.perf_counter()
    folder_to_write(output)

    from eckart.cli.sources.demo_networks import load_digits  # here, because these bring torch
    from eckart.cli.sources.demo_studies import SAVED, SAVED_KEEP, SUBJECTS, keep_one, study
    from eckart.report import frontier_table

    replace(run, threads=run.threads or _THREADS).start()
    trained, tested = load_digits(seed)
    findings = {s.name: study(s, trained, tested, seed, output) for s in SUBJECTS}
    folder = output / f"{SAVED.name}-{SAVED_KEEP}"
    keep_one(findings[SAVED.name], SAVED, tested, folder)
    seconds = time.perf_counter() - start
    document = {
        "frontiers": {name: found.frontier.as_json() for name, found in findings.items()},
        "reports": {s.name: str(output / s.report) for s in SUBJECTS},
        "saved": str(folder),
        "seconds": seconds,
    }
    shown: list[RenderableType] = []
    for subject in SUBJECTS:
        shown += [f"\n{subject.title}: {output / subject.report}"]
        shown += [frontier_table(findings[subject.name].frontier)]
    shown += [
        f"\n{folder} holds the {SAVED.name} with {SAVED_KEEP:.0%} of its parameters; loaded again, "
        f"it gives the same outputs. {seconds:.0f} s in all."
    ]
    return Result(document, shown)
