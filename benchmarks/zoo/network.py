"""What the zoo knows about one architecture."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

Library = Literal["torchvision", "timm", "transformers", "own"]
LIBRARIES: tuple[Library, ...] = get_args(Library)


@dataclass(frozen=True)
class Network:
    """One architecture at a small size, with random weights.

    Attributes:
        name: unique in the zoo.
        library: where its class comes from; "own" is written here.
        family: what the table groups it by.
        make: the network; the seed is set before each call, so two calls give equal networks.
        batches: calibration batches, as a user would pass them.
        varying: whether the shapes of its outputs follow the weights, as the boxes of a detector.
    """

    name: str
    library: Library
    family: str
    make: Callable[[], nn.Module]
    batches: Callable[[], list[Any]]
    varying: bool = False

    def made(self, seed: int = 0) -> nn.Module:
        """The network in eval mode, with the weights of a seed."""
        torch.manual_seed(seed)
        return self.make().eval()

    def data(self, seed: int = 1) -> list[Any]:
        """The batches, drawn with a seed."""
        torch.manual_seed(seed)
        return self.batches()


BATCHES, EXAMPLES = 2, 4


def images(side: int = 32, channels: int = 3) -> Callable[[], list[Tensor]]:
    """Batches of square images."""
    return drawn(channels, side, side)


def drawn(*shape: int) -> Callable[[], list[Tensor]]:
    """Batches of Gaussian tensors, each example of this shape."""
    return lambda: [torch.randn(EXAMPLES, *shape) for _ in range(BATCHES)]


def keywords(**make: Callable[[], Any]) -> Callable[[], list[dict[str, Any]]]:
    """Batches that go in as keyword arguments, each drawn by a function."""
    return lambda: [{name: draw() for name, draw in make.items()} for _ in range(BATCHES)]


def normal(*shape: int) -> Callable[[], Tensor]:
    """Draws a Gaussian tensor for a batch."""
    return lambda: torch.randn(EXAMPLES, *shape)


def whole(most: int, *shape: int, least: int = 0) -> Callable[[], Tensor]:
    """Draws a tensor of whole numbers from `least` to below `most` for a batch."""
    return lambda: torch.randint(least, most, (EXAMPLES, *shape))
