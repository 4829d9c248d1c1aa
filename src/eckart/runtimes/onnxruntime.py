"""ONNX Runtime on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from eckart.runtimes.ladders import Ladder
from eckart.runtimes.onnx_export import Exported, exported
from eckart.runtimes.onnx_ladders import onnx_ladder, onnx_numbers
from eckart.runtimes.registry import Run, Runtime

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_ERRORS_ONLY = 3


def prepare(model: nn.Module, inputs: Any, threads: int) -> Run:
    """The network, exported to ONNX with its norms folded, in a session."""
    found: Exported = exported(model, inputs)
    return _bound(_session(found.content, threads), found.inputs)


def ladder(of: Ladder, threads: int) -> Run:
    """Some copies of one layer in a session."""
    return _bound(_session(onnx_ladder(of), threads), {"input": onnx_numbers(of)})


def _session(content: bytes, threads: int) -> InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _bound(session: InferenceSession, inputs: dict[str, Any]) -> Run:
    """A run whose inputs and outputs are not copied."""
    binding = session.io_binding()
    for name, numbers in inputs.items():
        binding.bind_cpu_input(name, numbers)
    for output in session.get_outputs():
        binding.bind_output(output.name)
    return lambda: session.run_with_iobinding(binding)


ONNXRUNTIME = Runtime(
    "onnxruntime",
    prepare,
    ladder,
    packages=("onnxruntime", "onnx", "onnxscript"),
    extra="onnxruntime",
    fuses=True,
    rounds=True,
)
