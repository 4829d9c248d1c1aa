"""OpenVINO on the CPU."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from torch import nn

from eckart.runtimes.ladders import Ladder
from eckart.runtimes.onnx_export import exported
from eckart.runtimes.onnx_ladders import onnx_ladder, onnx_numbers
from eckart.runtimes.registry import Run, Runtime


def prepare(model: nn.Module, inputs: Any, threads: int) -> Run:
    """The network, exported to ONNX and compiled by OpenVINO."""
    found = exported(model, inputs)
    return _compiled(found.content, list(found.inputs.values()), threads)


def ladder(of: Ladder, threads: int) -> Run:
    """Some copies of one layer, compiled by OpenVINO."""
    return _compiled(onnx_ladder(of), [onnx_numbers(of)], threads)


def _compiled(content: bytes, inputs: list[Any], threads: int) -> Run:
    import openvino

    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = core.compile_model(
        core.read_model(io.BytesIO(content)), "CPU", settings
    ).create_infer_request()
    for place, numbers in enumerate(inputs):
        request.set_input_tensor(place, openvino.Tensor(np.ascontiguousarray(numbers)))
    return lambda: request.infer()


OPENVINO = Runtime(
    "openvino",
    prepare,
    ladder,
    packages=("openvino", "onnx", "onnxscript"),
    extra="openvino",
    fuses=True,
    rounds=True,
)
