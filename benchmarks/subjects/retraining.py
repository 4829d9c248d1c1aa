"""Retrain a smaller network on labels, or to match the dense network's outputs."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]
WARM_UP = 0.05  # share of the steps, so that the first steps do not undo the least-squares fit


@dataclass(frozen=True)
class Recipe:
    """How to retrain: Adam, a linear warm-up, then a cosine down to zero.

    Attributes:
        name: the name in the results.
        epochs: passes over the training images.
        distilled: whether the targets are the dense network's logits instead of labels.
        rate: largest step size.
        batch: images per step.
        temperature: divides both sets of logits when distilled.
    """

    name: str
    epochs: int
    distilled: bool
    rate: float = 4e-3
    batch: int = 64
    temperature: float = 2.0

    @property
    def loss(self) -> Loss:
        """Mean loss of a batch."""
        return self._divergence if self.distilled else F.cross_entropy

    def _divergence(self, logits: Tensor, teacher: Tensor) -> Tensor:
        """``T² KL(teacher ‖ student)`` at temperature T (Hinton et al. 2015, 1503.02531)."""
        ours, theirs = (F.log_softmax(z / self.temperature, 1) for z in (logits, teacher))
        divergence = F.kl_div(ours, theirs, reduction="batchmean", log_target=True)
        return self.temperature**2 * divergence


def retrained(
    model: nn.Module,
    recipe: Recipe,
    images: Float[Tensor, "n ..."],
    targets: Float[Tensor, "n ..."] | Tensor,
    seed: int = 0,
) -> nn.Module:
    """A retrained copy of the model, in eval mode; ``seed`` orders the images."""
    model = copy.deepcopy(model).train().requires_grad_()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), recipe.rate)
    schedule = _schedule(optimizer, recipe.epochs * -(-len(images) // recipe.batch))
    for _ in range(recipe.epochs):
        for rows in torch.randperm(len(images), generator=generator).split(recipe.batch):
            optimizer.zero_grad()
            recipe.loss(model(images[rows]), targets[rows]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def _schedule(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    warm = max(1, round(WARM_UP * steps))
    rising = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / warm, total_iters=warm)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - warm)
    return torch.optim.lr_scheduler.SequentialLR(optimizer, [rising, falling], [warm])
