"""``torch.compile``. Networks are compiled; their layers are timed eagerly.

To compile every layer that is timed would take hours. Most layers run the same kernels either way;
whole networks, which are compiled, tell the factor between the two.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from eckart.runtimes.eager import evaluating, ladder, passes
from eckart.runtimes.registry import Run, Runtime


def prepare(model: nn.Module, inputs: Any, threads: int) -> Run:
    """A forward pass of the compiled network in eval mode."""
    compiled: Any = torch.compile(evaluating(model))
    return passes(compiled, inputs, threads)


COMPILED = Runtime("compile", prepare, ladder, fuses=True)
