"""A network as an ONNX model in memory: what ``export`` writes to a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from eckart.exporting import onnx_graph, ready
from eckart.running.batches import tensors_in


@dataclass(frozen=True)
class Exported:
    """An ONNX model with the inputs to time it on.

    Attributes:
        content: the model, serialised.
        inputs: by name.
    """

    content: bytes
    inputs: dict[str, np.ndarray[Any, Any]]


def exported(model: nn.Module, inputs: Any) -> Exported:
    """The network, as ``export`` makes it ready, for inputs of these shapes."""
    import onnx_ir  # slow to import

    network = ready(model, inputs, dynamic_batch=False)
    graph = onnx_graph(network)
    numbers = [t.cpu().numpy() for t in tensors_in((network.args, network.kwargs))]
    names = [value.name for value in graph.graph.inputs]
    content = onnx_ir.to_proto(graph).SerializeToString()
    return Exported(content, dict(zip(names, numbers, strict=True)))
