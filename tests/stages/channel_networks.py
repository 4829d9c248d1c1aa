"""Small networks whose groups of coupled channels are known, or known not to be removable."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Sizes = dict[str, int]
"""Channels of one unit, by layer."""


@dataclass(frozen=True)
class Group:
    """A group as it must be found."""

    size: int
    writers: Sizes
    readers: Sizes
    followers: Sizes = field(default_factory=dict)


@dataclass(frozen=True)
class Known:
    """A network, the shape of one example, and its groups by name.

    Attributes:
        refused: a part of the reason against each group that must stay whole, by name.
    """

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    groups: dict[str, Group] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def network(self) -> nn.Module:
        """The network in eval mode; every norm has statistics and scales of its own."""
        model = self.make().eval()
        with torch.no_grad():
            for module in model.modules():
                for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
                    if tensor is not None and tensor.dim() == 1 and name != "bias":
                        tensor.uniform_(0.5, 1.5)
                        tensor.sub_(1.0 if name == "running_mean" else 0.0)
        return model

    def batch(self, examples: int = 1) -> Tensor:
        return torch.randn(examples, *self.shape)


def linear() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))


def deep_linear() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 10), nn.Linear(10, 8), nn.Linear(8, 3))


def flattened() -> nn.Module:
    convolution = nn.Conv2d(2, 6, 3, padding=1)
    return nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), nn.Linear(6 * 20, 3))


def instance_norm() -> nn.Module:
    norm, last = nn.InstanceNorm2d(8, affine=True), nn.Conv2d(8, 3, 3)
    return nn.Sequential(nn.Conv2d(2, 8, 3), norm, nn.ReLU(), last, nn.Flatten())


def pooled() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 4, 3, padding=1),
        nn.Flatten(),
    )


class Residual(nn.Module):
    """Two writers of one sum, which two layers read."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1)
        self.inner = nn.Conv2d(6, 4, 3, padding=1)
        self.outer = nn.Conv2d(4, 6, 3, padding=1)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(x + self.outer(F.relu(self.inner(x))))
        return self.head(x.mean((2, 3)))


class Concatenated(nn.Module):
    """Two writers side by side in one reader."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(2, 4, 1), nn.Conv2d(2, 6, 3, padding=1)
        self.mix = nn.Conv2d(10, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(F.relu(torch.cat([self.left(x), self.right(x)], 1)))


def separable() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 8, 1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 3, 1),
    )


def grouped() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 8, 1), nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 3, 1))


class Twice(nn.Module):
    """One layer called twice: its inputs and its outputs are the same channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.again, self.head = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.again(torch.relu(self.again(torch.relu(self.stem(x))))))


class Untraceable(nn.Module):
    """Runs without gradients only, and the tracer follows gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            raise RuntimeError("not with gradients")
        return self.second(self.first(x))


class Noisy(nn.Module):
    """Draws random numbers, in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x + torch.randn_like(x))))


class Viewed(nn.Module):
    """The hidden width as a number in the code: with fewer channels its view fails."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 6, 1), nn.Linear(6 * 20, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).view(-1, 6 * 20))


class Reversed(nn.Module):
    """The reader takes the channels in another order, by an index that tracing does not follow."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x)).flip(-1))


class Padded(nn.Module):
    """A shortcut without weights: every other pixel, the new channels zero (option A)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.conv1 = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        short = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        x = F.relu(short + self.conv2(F.relu(self.conv1(x))))
        return self.head(x.mean((2, 3)))


def parametric() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 6, 1), nn.PReLU(6), nn.Conv2d(6, 3, 1))


def one_slope() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 6, 1), nn.PReLU(), nn.Conv2d(6, 3, 1))


def group_normed() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 6, 1), nn.GroupNorm(3, 6), nn.Conv2d(6, 3, 1))


def one_group() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 6, 1), nn.GroupNorm(1, 6), nn.Conv2d(6, 3, 1))


def layer_normed() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.Linear(6, 3))


class Features(nn.Module):
    """The first layer's channels are read, and are an output themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.first(x)
        return features, self.second(torch.relu(features))


class Halved(nn.Module):
    """One half of the first layer's channels is a gate for the other, as in fused gated MLPs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 12), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.first(x).chunk(2, -1)
        return self.second(gate.sigmoid() * value)


IMAGE = (2, 4, 5)
_DIFFERS = "does not give the same outputs as masking them"

KNOWN = {
    "linear": Known(linear, (5,), {"0": Group(8, {"0": 1}, {"2": 1})}),
    "halved": Known(Halved, (5,), {"first": Group(6, {"first": 2}, {"second": 1})}),
    "deep linear": Known(
        deep_linear,
        (6,),
        {"0": Group(10, {"0": 1}, {"1": 1}), "1": Group(8, {"1": 1}, {"2": 1})},
    ),
    "flattened": Known(flattened, IMAGE, {"0": Group(6, {"0": 1}, {"3": 20})}),
    "pooled": Known(pooled, (2, 8, 8), {"0": Group(8, {"0": 1}, {"4": 1}, {"1": 1})}),
    "instance norm": Known(instance_norm, (2, 6, 6), {"0": Group(8, {"0": 1}, {"3": 1}, {"1": 1})}),
    "residual": Known(
        Residual,
        IMAGE,
        {
            "inner": Group(4, {"inner": 1}, {"outer": 1}),
            "outer": Group(6, {"stem": 1, "outer": 1}, {"inner": 1, "head": 1}),
        },
    ),
    "concatenated": Known(
        Concatenated, IMAGE, {"left": Group(10, {"left": 1, "right": 1}, {"mix": 1})}
    ),
    "separable": Known(separable, IMAGE, {"0": Group(8, {"0": 1}, {"5": 1}, {"2": 1, "3": 1})}),
    "twice": Known(
        Twice, (5,), {"again": Group(6, {"again": 1, "stem": 1}, {"again": 1, "head": 1})}
    ),
    "padded": Known(
        Padded, (2, 6, 6), {"conv1": Group(8, {"conv1": 1}, {"conv2": 1})}, {"conv2": _DIFFERS}
    ),
    "PReLU": Known(parametric, IMAGE, {"0": Group(6, {"0": 1}, {"2": 1}, {"1": 1})}),
    "one slope": Known(one_slope, IMAGE, {"0": Group(6, {"0": 1}, {"2": 1})}),
    "noisy": Known(Noisy, (5,), {"first": Group(8, {"first": 1}, {"second": 1})}),
    "grouped": Known(grouped, IMAGE, refused=dict.fromkeys("01", "has 2 groups of channels")),
    "GroupNorm": Known(group_normed, IMAGE, {"0": Group(3, {"0": 2}, {"2": 2}, {"1": 2})}),
    "one group": Known(one_group, IMAGE, refused={"0": "GroupNorm normalises all channels"}),
    "LayerNorm": Known(layer_normed, (5,), refused={"0": "LayerNorm normalises all channels"}),
    "features": Known(Features, (5,), refused={"first": _DIFFERS}),
    "viewed": Known(Viewed, IMAGE, refused={"first": _DIFFERS}),
    "reversed": Known(Reversed, (5,), refused={"first": _DIFFERS}),
    "untraceable": Known(
        Untraceable, (5,), refused={"channels": "cannot be traced (RuntimeError: not with grad"}
    ),
    "one layer": Known(lambda: nn.Linear(5, 3), (5,)),
}
REMOVABLE = [name for name, known in KNOWN.items() if known.groups]
