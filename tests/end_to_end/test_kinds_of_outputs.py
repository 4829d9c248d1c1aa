"""Networks that are no classifiers go through the default pipeline, and their outputs survive."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import eckart

Loss = Callable[[Tensor, Tensor], Tensor]


def trained(
    network: nn.Module, x: Tensor, y: Tensor, loss: Loss, steps: int, batch: int = 256
) -> nn.Module:
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(steps):
        at = torch.randint(len(x), (batch,))
        optimizer.zero_grad()
        loss(network(x[at]), y[at]).backward()
        optimizer.step()
    return network.eval()


def mlp(*widths: int) -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def regression() -> tuple[nn.Module, Tensor]:
    """Three outputs that rise and fall together, as those of a regression may."""
    x = torch.randn(4096, 32)
    hidden = torch.tanh(x @ torch.randn(32, 6) / 3)
    y = hidden @ torch.randn(6, 1) + 0.1 * hidden @ torch.randn(6, 3)
    return trained(mlp(32, 128, 128, 3), x, y, F.mse_loss, 400), x


def multi_label() -> tuple[nn.Module, Tensor]:
    """Five labels that are mostly there all at once or not at all."""
    x = torch.randn(4096, 32)
    common = torch.tanh(x @ torch.randn(32, 6) / 3) @ torch.randn(6, 1)
    y = (2 * common + 0.5 * torch.randn(4096, 5) > 0).float()
    return trained(mlp(32, 128, 128, 5), x, y, F.binary_cross_entropy_with_logits, 300), x


def image_to_image() -> tuple[nn.Module, Tensor]:
    """Blurs grey pictures of three channels."""
    x = torch.randn(256, 1, 12, 12).repeat(1, 3, 1, 1) + 0.1 * torch.randn(256, 3, 12, 12)
    y = F.avg_pool2d(x, 3, 1, 1)
    convolution = partial(nn.Conv2d, kernel_size=3, padding=1)
    network = nn.Sequential(
        convolution(3, 24), nn.ReLU(), convolution(24, 24), nn.ReLU(), convolution(24, 3)
    )
    return trained(network, x, y, F.mse_loss, 150, batch=64), x


@pytest.mark.parametrize(
    ("make", "keep", "most"),
    [(regression, 0.2, 0.12), (multi_label, 0.2, 0.12), (image_to_image, 0.4, 0.06)],
    ids=["regression", "multi-label", "image to image"],
)
@pytest.mark.filterwarnings("ignore::eckart.EckartWarning")
def test_a_common_shift_of_the_outputs_counts(
    make: Callable[[], tuple[nn.Module, Tensor]], keep: float, most: float
):
    torch.manual_seed(0)
    network, x = make()
    smaller = eckart.compress(network, x.split(256), keep=keep).model
    with torch.no_grad():
        dense, found = network(x), smaller(x)
    change, spread = found - dense, dense - dense.mean(0)
    assert change.norm() / spread.norm() < most
    assert change.mean(1).norm() / spread.mean(1).norm() < most


class Heads(nn.Module):
    """Two heads on one body."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__()
        self.body = nn.Sequential(mlp(32, 96, 96), nn.ReLU())
        self.first, self.second = nn.Linear(96, first), nn.Linear(96, second)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.body(x)
        return self.first(hidden), self.second(hidden)


def classified(z: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
    return F.cross_entropy(z[0], y[:, 0].long()) + F.cross_entropy(z[1], y[:, 1].long())


def regressed(z: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
    return F.mse_loss(z[0], y[:, :2]) + F.mse_loss(z[1], y[:, 2:])


def two_heads(kind: str) -> tuple[nn.Module, Tensor]:
    x = torch.randn(4096, 32)
    hidden = torch.tanh(x @ torch.randn(32, 12) / 3)
    if kind == "regression":
        return trained(Heads(2, 10), x, hidden @ torch.randn(12, 12), regressed, 300), x
    chosen = [(hidden @ torch.randn(12, classes)).argmax(1) for classes in (2, 40)]
    return trained(Heads(2, 40), x, torch.stack(chosen, 1).float(), classified, 300), x


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.filterwarnings("ignore::eckart.EckartWarning")
def test_both_heads_of_a_network_are_as_good_as_under_a_probe_of_both(kind: str):
    """The first version probed the first head alone, and left the second 40 % off."""
    torch.manual_seed(0)
    network, x = two_heads(kind)
    both = eckart.Outputs(scales={"[0]": 1.0, "[1]": 1.0})
    found = []
    for metric in ("auto", both):
        done = eckart.compress(
            network,
            x.split(512),
            keep=0.4,
            metric=metric,
            methods=["weighted_svd"],
            latency=False,
        )
        with torch.no_grad():
            pairs = zip(done.model(x), network(x), strict=True)
            found.append([float((a - b).norm() / (b - b.mean(0)).norm()) for a, b in pairs])
    default, probed = found
    assert all(one <= 1.5 * other for one, other in zip(default, probed, strict=True))
    assert max(default) < 0.15
