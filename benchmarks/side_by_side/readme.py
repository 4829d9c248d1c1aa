"""The README's table: four networks, dense, by a peer and by eckart, as files that run.

Each network becomes an ONNX file, which is scored in ONNX Runtime. All files of a network are timed
in turns on one thread, and so are the networks of torch. The files stay in the cache: to run this
again only times them again. Without fine-tuning.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results, Row
from benchmarks.side_by_side.files import (
    Made,
    compressed,
    dense,
    dynamic_8_bits,
    static_8_bits,
)
from benchmarks.side_by_side.four_networks import NETWORKS
from benchmarks.side_by_side.subject import Subject
from benchmarks.subjects.data import CACHE
from eckart.runtimes import runtime_named
from eckart.runtimes.clocks import clock_of, interleaved

PEERS = {"static": static_8_bits, "dynamic": dynamic_8_bits}
_ROUNDS, _THREADS = 11, 1


def made(subject: Subject, folder: Path) -> dict[str, Made]:
    """All files of a network by title; those in the cache are not made again."""
    plain = dense(subject, folder / "dense")
    found = {"dense": plain, "peer": PEERS[subject.peer](subject, plain, folder / "peer")}
    for title in subject.budgets:
        found[title] = compressed(subject, title, folder / title.replace("=", "-"), folder / "work")
    return found


def scores(subject: Subject, files: Mapping[str, Made], results: Results) -> dict[str, Row]:
    """What each file scores, from the results where it is known and the file is of before."""
    rows: dict[str, Row] = {}
    for title, file in files.items():
        key = {"network": subject.name, "variant": title}
        known = next((row for row in results.rows if key.items() <= row.items()), None)
        if known is None or file.seconds is not None:
            score, examples = subject.judge(file.session())
            known = key | {"score": score, "examples": examples, "made_s": file.seconds}
            results.forget(**key)
            results.add(known)  # so that a run that is stopped does not score it again
        rows[title] = known | {"onnx_bytes": file.onnx.stat().st_size}
        if file.stored is not None:
            rows[title]["torch_bytes"] = file.stored
    return rows


def times(subject: Subject, files: Mapping[str, Made], seconds: float) -> dict[str, Row]:
    """The least milliseconds of all files and of all networks of torch, each kind in turns."""
    eager, clock = runtime_named("eager"), clock_of(_THREADS, torch.device("cpu"))
    ready = {
        "ort_ms": {title: file.session().on(subject.example) for title, file in files.items()},
        "torch_ms": {
            title: eager.prepare(file.network(), subject.example, _THREADS)
            for title, file in files.items()
            if file.network is not None
        },
    }
    rows: dict[str, Row] = {title: {} for title in files}
    for column, runs in ready.items():
        found = interleaved(list(runs.values()), _ROUNDS, clock, seconds)
        for title, one in zip(runs, found, strict=True):
            rows[title][column] = one.least
    return rows


def measure(
    output: Path,
    data: Path | None = None,
    *,
    networks: Sequence[str] = tuple(NETWORKS),
    cache: Path = CACHE / "readme",
    seconds: float = 2.0,
) -> None:
    """Score what was not scored, and time everything."""
    results = Results(output)
    for name in networks:
        subject = NETWORKS[name](data)
        files = made(subject, cache / name)
        rows, spent = scores(subject, files, results), times(subject, files, seconds)
        results.forget(network=name)
        shared = {"title": subject.title, "unit": subject.unit, "inputs": subject.inputs}
        results.add(*(shared | rows[title] | spent[title] for title in files))


MEASUREMENT = Measurement(measure, choices={"networks": NETWORKS}, threads=1)
