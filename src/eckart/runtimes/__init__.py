"""Where networks run: one file per runtime, and their registry."""

from eckart.runtimes.clocks import Times, clock_of, interleaved
from eckart.runtimes.compiled import COMPILED
from eckart.runtimes.eager import EAGER
from eckart.runtimes.ladders import Ladder, LadderModule
from eckart.runtimes.onnxruntime import ONNXRUNTIME
from eckart.runtimes.openvino import OPENVINO
from eckart.runtimes.registry import (
    RUNTIMES,
    Run,
    Runtime,
    register_runtime,
    runtime_named,
    versions_of,
)

for _runtime in (EAGER, COMPILED, ONNXRUNTIME, OPENVINO):
    register_runtime(_runtime)

__all__ = [
    "RUNTIMES",
    "Ladder",
    "LadderModule",
    "Run",
    "Runtime",
    "Times",
    "clock_of",
    "interleaved",
    "register_runtime",
    "runtime_named",
    "versions_of",
]
