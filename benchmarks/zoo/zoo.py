"""Every stage on every kind of network: what passes, what is refused and why, what fails."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results
from benchmarks.zoo.network import LIBRARIES, Network
from benchmarks.zoo.networks import NETWORKS
from benchmarks.zoo.notes import PASSED
from benchmarks.zoo.process import Process

ALL = "all"
PRELOADED = (
    "onnxscript",
    "scipy.optimize",
    "torch._dynamo",
    "torch.onnx._internal.exporter._core",
    "torch.utils.flop_counter",
    "torch_pruning",
)


def measure(
    output: Path,
    *,
    seed: int = 0,
    names: Sequence[str] = (),
    library: str = ALL,
    again: bool = False,
    export: bool = True,
    seconds: int = 120,
    workers: int = 1,
) -> None:
    """The named networks, or all that the results do not hold; `again`: what did not pass, too."""
    results = Results(output)
    for name in names or [
        row["name"] for row in results.rows if again and row["outcome"] != PASSED
    ]:
        results.forget(name=name)
    wanted = [n for n in chosen(names, library) if not results.has(name=n.name)]
    preload({network.library for network in wanted})
    code = of_the_code()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped; what is done is in the results"))
    running: dict[int, Process] = {}
    try:
        while wanted or running:
            while wanted and len(running) < workers:
                process = Process(wanted.pop(0), seconds, export, seed)
                running[process.pid] = process
            pid, status = os.wait()
            results.add(running.pop(pid).row(status) | {"code": code})
    finally:
        for process in running.values():
            process.kill()


def chosen(names: Sequence[str], library: str) -> list[Network]:
    """The networks with these names, or all of a library.

    Raises:
        ValueError: a name is not known.
    """
    unknown = set(names) - NETWORKS.keys()
    if unknown:
        raise ValueError(f"no network {sorted(unknown)}; there are: {', '.join(NETWORKS)}")
    found = [NETWORKS[name] for name in names] or list(NETWORKS.values())
    return [network for network in found if library in (ALL, network.library)]


def of_the_code() -> str:
    """Git's name for the tree under `src`, because rows of several may stand in one file."""
    command = ["git", "rev-parse", "--short", "HEAD:src"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def preload(libraries: set[str]) -> None:
    """Import what every child would import again."""
    for module in (*PRELOADED, *(libraries - {"own"})):
        import_module(module)
    if "transformers" in libraries:
        import_module("transformers.models.llava.modeling_llava")


MEASUREMENT = Measurement(measure, {"library": (ALL, *LIBRARIES)})
