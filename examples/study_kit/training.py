"""Plain training on labels."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from study_kit.images import Images


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        epochs: passes over the images.
        rate: the largest step size.
        batch: images per step.
        adam: Adam at a constant rate.
        plain: SGD with momentum 0.9 at a constant rate. Without `adam` and `plain`: SGD with
            Nesterov momentum 0.9, weight decay 5e-4 and a rate that rises and falls once (Smith and
            Topin 2017, 1708.07120).
        margin: pixels by which images are moved at random, and also mirrored; 0 does neither.
        smoothing: label smoothing.
        bfloat16: products in bfloat16, which is faster if the processor supports it.
    """

    epochs: int
    rate: float
    batch: int = 64
    adam: bool = False
    plain: bool = False
    margin: int = 0
    smoothing: float = 0.0
    bfloat16: bool = False


def train_epochs(
    network: nn.Module,
    images: Images,
    recipe: Recipe,
    seed: int,
    seen: list[float] | None = None,
) -> Iterator[float]:
    """Train in place; after each epoch, yield its mean loss with the network in eval mode.

    `seen` gets the accuracy of each epoch on its own batches, each before its step.
    """
    images = images.in_batches(recipe.batch)
    generator = torch.Generator().manual_seed(seed)
    optimiser, schedule = _optimiser(network, recipe, recipe.epochs * len(images))
    for epoch in range(1, recipe.epochs + 1):
        start, total, right = time.process_time(), 0.0, 0
        network.train()
        for inputs, labels in images.shuffled(generator, recipe.margin):
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
                outputs = network(inputs)
            loss = F.cross_entropy(outputs.float(), labels, label_smoothing=recipe.smoothing)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(labels) / len(images.labels)
            right += int((outputs.argmax(1) == labels).sum())
        network.eval()
        if seen is not None:
            seen.append(right / len(images.labels))
        seconds = time.process_time() - start
        print(f"epoch {epoch}: loss {total:.3f}, {seconds:.0f} s of processor time", flush=True)
        yield total


def trained(
    make: Callable[[], nn.Module],
    images: Images,
    recipe: Recipe,
    seed: int,
    seen: list[float] | None = None,
) -> nn.Module:
    """A new network in eval mode, initialised and trained from a seed."""
    torch.manual_seed(seed)
    network = make()
    for _ in train_epochs(network, images, recipe, seed, seen):
        pass
    return network


def _optimiser(
    network: nn.Module, recipe: Recipe, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """The optimiser, and the schedule to step after each batch."""
    weights, rate = list(network.parameters()), recipe.rate
    if recipe.adam or recipe.plain:
        adam = torch.optim.Adam(weights, rate, fused=True)
        constant = adam if recipe.adam else torch.optim.SGD(weights, rate, momentum=0.9)
        return constant, torch.optim.lr_scheduler.ConstantLR(constant, factor=1.0)
    sgd = torch.optim.SGD(weights, rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
    return sgd, torch.optim.lr_scheduler.OneCycleLR(
        sgd, rate, total_steps=steps, cycle_momentum=False
    )
