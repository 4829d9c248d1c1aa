"""A network as an ONNX model in memory."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from eckart.running.batches import mapped, moved, tensors_in
from eckart.runtimes.eager import evaluating


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
    """The network for inputs of these shapes."""
    inputs = mapped(moved(inputs, model), lambda tensor: tensor.detach())
    named = isinstance(inputs, Mapping)
    arguments = () if named else tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
    content, said = io.BytesIO(), io.StringIO()
    with warnings.catch_warnings(), redirect_stdout(said), torch.no_grad():
        warnings.simplefilter("ignore")
        program: Any = torch.onnx.export(
            evaluating(model),
            arguments,
            kwargs=dict(inputs) if named else None,
            dynamo=True,
            verbose=False,
        )
        program.save(content)
    names = [value.name for value in program.model.graph.inputs]
    numbers = [tensor.cpu().numpy() for tensor in tensors_in(inputs)]
    return Exported(content.getvalue(), dict(zip(names, numbers, strict=True)))
