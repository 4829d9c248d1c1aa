"""The smallest inputs that a network runs on: one example if it can be cut out of a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from eckart.running.batches import call, detached, examples_in, first_examples, tensors_in
from eckart.running.hooks import untouched


def smallest_that_runs(model: nn.Module, inputs: Any) -> tuple[Any, Any]:
    """Inputs for which costs are counted, and the outputs: one example's, or the whole batch's.

    A graph is never cut: its edges would point at nodes that are not there.

    Args:
        model: the network.
        inputs: of a batch, on the network's device.

    Raises:
        Whatever the network raises on the whole batch.

    Cost: one forward pass, or two.
    """
    if not _is_graph(inputs):
        example = first_examples(inputs)
        try:
            return example, _run(model, example)
        except Exception:  # it may run on the batch where it does not on one example
            pass
    return detached(inputs), _run(model, inputs)


def _run(model: nn.Module, inputs: Any) -> Any:
    with untouched(model), torch.no_grad():
        return call(model, inputs)


def _is_graph(inputs: Any) -> bool:
    """Whether a tensor holds edges: numbers of examples that are its nodes; or a sparse matrix."""
    count = examples_in(inputs)
    return any(_holds_edges(tensor, count) for tensor in tensors_in(inputs, objects=True))


def _holds_edges(tensor: Tensor, nodes: int) -> bool:
    """Whether it is sparse, or of shape (2, edges) with numbers of nodes."""
    if tensor.layout != torch.strided:
        return True
    pairs = tensor.dtype == torch.int64 and tensor.dim() == 2 and len(tensor) == 2 != nodes
    return pairs and bool((tensor < nodes).all())
