"""PyTorch as it is, without compilation."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from eckart.running.batches import call, mapped, moved
from eckart.runtimes.ladders import Ladder, LadderModule
from eckart.runtimes.registry import Run, Runtime


def evaluating(model: nn.Module) -> nn.Module:
    """A copy in eval mode that shares all tensors with the network."""
    tensors = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors}).eval()


def passes(model: nn.Module, inputs: Any, threads: int) -> Run:
    """One forward pass in inference mode, or without gradients where that does not run."""
    inputs = mapped(moved(inputs, model), lambda tensor: tensor.detach())
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    quickest = _fastest_mode(model, inputs)

    def run() -> None:
        before = torch.get_num_threads()
        if before != threads:
            torch.set_num_threads(threads)
        try:
            with quickest():
                call(model, inputs)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
        finally:
            if before != threads:
                torch.set_num_threads(before)

    return run


def _fastest_mode(model: nn.Module, inputs: Any) -> Any:
    try:
        with torch.inference_mode():
            call(model, inputs)
    except RuntimeError:  # it differentiates inside its forward pass
        return torch.no_grad
    return torch.inference_mode


def prepare(model: nn.Module, inputs: Any, threads: int) -> Run:
    """A forward pass of the network in eval mode."""
    return passes(evaluating(model), inputs, threads)


def ladder(of: Ladder, threads: int) -> Run:
    """A forward pass of some copies of one layer."""
    inputs = torch.randn(of.shape, dtype=of.dtype, device=of.device)
    return passes(LadderModule(of), inputs, threads)


EAGER = Runtime("eager", prepare, ladder, as_given=passes)
