"""The cost and the accuracy of a network."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

import eckart
from study_kit.images import Images
from study_kit.study import Row


def measured(network: nn.Module, test: Images, **known: Any) -> Row:
    """What is known about a network, its cost, and its accuracy on the test images."""
    example = next(iter(test.in_batches(1)))[0]
    found = eckart.measure(network, example, evaluate=eckart.accuracy(test), latency=False)
    accuracy, n = found.score.value, found.score.n
    return {**known, "params": found.params, "macs": found.macs, "accuracy": accuracy, "images": n}


def relative_times(networks: Sequence[nn.Module], inputs: Tensor) -> list[float]:
    """Processor time of a forward pass, relative to the first network's."""
    seconds = forward_seconds(networks, inputs)
    return [each / seconds[0] for each in seconds]


def forward_seconds(networks: Sequence[nn.Module], inputs: Tensor, rounds: int = 20) -> list[float]:
    """Processor time of a forward pass.

    The networks take turns and the fastest round counts, so other load on the machine matters
    little.
    """
    times = [[] for _ in networks]
    with torch.inference_mode():
        for _ in range(rounds):
            for network, seen in zip(networks, times, strict=True):
                start = time.process_time()
                network(inputs)
                seen.append(time.process_time() - start)
    return [min(seen) for seen in times]


@torch.inference_mode()
def answers_changed(one: nn.Module, other: nn.Module, test: Images) -> int:
    """The number of images on which two networks disagree."""
    return sum(int((one(x).argmax(1) != other(x).argmax(1)).sum()) for x, _ in test)
