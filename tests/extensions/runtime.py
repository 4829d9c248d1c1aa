"""A runtime from outside: PyTorch on a CPU, with products in bfloat16."""

from typing import Any

import torch
from torch import nn

from eckart.runtimes import Ladder, Run, Runtime, eager


def prepare(model: nn.Module, inputs: Any, threads: int) -> Run:
    return in_bfloat16(eager.prepare(model, inputs, threads))


def ladder(of: Ladder, threads: int) -> Run:
    return in_bfloat16(eager.ladder(of, threads))


def in_bfloat16(run: Run) -> Run:
    def passes() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            run()

    return passes


BFLOAT16 = Runtime("bfloat16", prepare, ladder)
