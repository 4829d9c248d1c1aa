"""Write a network to a file for another program to run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from eckart.exporting.preparing import ready
from eckart.exporting.registry import format_named
from eckart.network.wrappers import network_in
from eckart.running.batches import inputs_for
from eckart.storage.writing import writable


def export(
    model: nn.Module,
    path: str | Path,
    example: Any,
    *,
    format: str = "onnx",  # noqa: A002 - what everybody calls it
    dynamic_batch: bool = True,
) -> Path:
    """Write a network, dense or smaller, to a file that ONNX Runtime or torch runs.

    The network itself stays as it is. What is written computes the same in eval mode, up to
    rounding: batch norms are folded into the layers before them, and factors that save no weights
    are multiplied out. Weights in codes stay codes in ONNX, of 4 or 8 bits, and are made once for
    torch.

    Args:
        model: any network that ``torch.export`` can trace.
        path: of the file.
        example: a batch as for ``calibrate``, of one example or more; targets are left out.
        format: ``"onnx"``, or ``"torch"`` for a program that ``torch.export.load`` reads.
        dynamic_batch: take any number of examples; else as many as ``example`` has.

    Returns:
        The path.

    Raises:
        InputError: an unknown format, a library that is missing, or a network that cannot be
            traced.
        WriteError: the disk is full, or the file cannot be written.

    Cost: tracing, which takes seconds to minutes, and a copy of the network in memory.

    Example:
        >>> import tempfile, torch, eckart
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = eckart.export(model, f"{folder}/net.pt2", torch.ones(2, 4), format="torch")
        ...     torch.export.load(path).module()(torch.ones(5, 4)).shape
        torch.Size([5, 3])
    """
    kind, target = format_named(format), writable(path)
    inputs = inputs_for(network_in(model), example)
    kind.write(ready(model, inputs, dynamic_batch=dynamic_batch), target)
    return Path(path)
