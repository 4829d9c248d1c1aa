"""``eckart demo``: the whole chain on small networks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from eckart.cli.options.grouping import grouped
from eckart.cli.options.parsing import usage_error
from eckart.cli.options.shared import RunOptions, option
from eckart.cli.shown.output import Result, folder_to_write

if TYPE_CHECKING:
    from rich.console import RenderableType

    from eckart.cli.sources.demo_studies import Findings, Subject

_THREADS = 1  # the networks are so small that more would wait for one another
DIGITS, RESNET = "digits", "resnet20"


@grouped
def demo_command(
    run: RunOptions,
    *,
    network: Annotated[
        str,
        option("Run", f"{DIGITS}: two, trained on the spot. {RESNET}: trained, on photographs."),
    ] = DIGITS,
    data: Annotated[
        Path | None, option("Run", f"For {RESNET}: folder with cifar10/ and cifar10_resnet/.")
    ] = None,
    output: Annotated[Path, option("Run", "Folder for what it writes.")] = Path("demo"),
    seed: Annotated[int, option("Run", "Of weights, order of images and probes.")] = 0,
) -> Result:
    """Compress small networks, and write a page and the best one of each; no network access."""
    start = time.perf_counter()
    if network not in (DIGITS, RESNET):
        raise usage_error("--network", f"unknown network {network!r}; known: {DIGITS}, {RESNET}")
    if network == RESNET and data is None:
        raise usage_error("--data", f"needed for {RESNET}: the folder with its images and weights")
    folder_to_write(output)
    replace(run, threads=run.threads or _THREADS).start()
    studied = _digits(output, seed) if data is None else _photographs(data, output, seed)
    found = list(studied)
    seconds = time.perf_counter() - start
    document = {
        "frontiers": {subject.name: findings.frontier.as_json() for subject, findings in found},
        "reports": {subject.name: str(output / subject.report) for subject, _ in found},
        "saved": {subject.name: str(findings.folder) for subject, findings in found},
        "seconds": seconds,
    }
    return Result(document, [*_shown(found, output), f"{seconds:.0f} s in all."])


def _digits(output: Path, seed: int) -> Iterator[tuple[Subject, Findings]]:
    from eckart.cli.sources.demo_networks import load_digits  # here, because these bring torch
    from eckart.cli.sources.demo_studies import SUBJECTS, study, trained_on

    trained, tested = load_digits(seed)
    for subject in SUBJECTS:
        model = trained_on(trained, subject, seed)
        batches = trained.batches(), tested.batches()
        yield subject, study(subject, model, *batches, output, seed=seed)


def _photographs(data: Path, output: Path, seed: int) -> Iterator[tuple[Subject, Findings]]:
    from eckart.cli.sources.demo_photographs import photographs, trained_resnet20
    from eckart.cli.sources.demo_studies import PHOTOGRAPHS, study

    batches, model = photographs(data), trained_resnet20(data)
    command = f"eckart demo --network {RESNET} --data {data}"
    yield PHOTOGRAPHS, study(PHOTOGRAPHS, model, *batches, output, command=command, seed=seed)


def _shown(found: list[tuple[Subject, Findings]], output: Path) -> Iterator[RenderableType]:
    from eckart.report import frontier_table
    from eckart.report.recommended import recommendation

    for subject, findings in found:
        why = recommendation(findings.frontier)
        yield f"\n{subject.title}: {output / subject.report}"
        yield frontier_table(findings.frontier)
        yield f"{findings.folder} holds {why.name}. {why.why}"
