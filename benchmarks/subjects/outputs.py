"""Small networks of every kind of output, trained in seconds on data that are drawn."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Outputs = dict[str, Tensor]
Loss = Callable[[Outputs, Outputs], Tensor]
INPUTS, EXAMPLES, TEST = 32, 4096, 2000


@dataclass(frozen=True)
class Subject:
    """A trained network, its inputs, and inputs that it was not trained on."""

    model: nn.Module
    inputs: Tensor
    test: Tensor


class Heads(nn.Module):
    """A body and named heads; the output is a dictionary."""

    def __init__(self, body: nn.Module, heads: dict[str, nn.Module]) -> None:
        """Put them together."""
        super().__init__()
        self.body, self.heads = body, nn.ModuleDict(heads)

    def forward(self, x: Tensor) -> Outputs:
        """What each head makes of the body's output."""
        hidden = self.body(x)
        return {name: head(hidden) for name, head in self.heads.items()}


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with a ReLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def body() -> nn.Module:
    """Two layers that the heads share."""
    return nn.Sequential(*mlp(INPUTS, 128, 128), nn.ReLU())


def hidden(x: Tensor, factors: int) -> Tensor:
    """A few smooth functions of the inputs."""
    return torch.tanh(x @ torch.randn(x.shape[1], factors) / 3)


def trained(model: nn.Module, x: Tensor, y: Outputs, loss: Loss, steps: int = 600) -> Subject:
    """The network after some steps of Adam; the last examples are kept for the test."""
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(steps):
        at = torch.randint(len(x) - TEST, (128,))
        optimizer.zero_grad()
        loss(model(x[at]), {name: value[at] for name, value in y.items()}).backward()
        optimizer.step()
    return Subject(model.eval(), x[: len(x) - TEST][:2048], x[len(x) - TEST :])


def classes(z: Outputs, y: Outputs) -> Tensor:
    """Cross entropy of every head."""
    return torch.stack([F.cross_entropy(z[name], y[name]) for name in z]).sum()


def squares(z: Outputs, y: Outputs) -> Tensor:
    """Squared error of every head, relative to its targets' variance."""
    return torch.stack([F.mse_loss(z[k], y[k]) / y[k].var() for k in z]).sum()


def two_classifications() -> Subject:
    """Heads of 2 and of 40 classes."""
    x = torch.randn(EXAMPLES + TEST, INPUTS)
    y = {n: (hidden(x, 12) @ torch.randn(12, k)).argmax(1) for n, k in (("two", 2), ("forty", 40))}
    return trained(Heads(body(), {"two": mlp(128, 2), "forty": mlp(128, 40)}), x, y, classes)


def two_regressions() -> Subject:
    """One number in the thousands, and ten near one."""
    x = torch.randn(EXAMPLES + TEST, INPUTS)
    y = {
        "price": 1000 * hidden(x, 6) @ torch.randn(6, 1),
        "ten": hidden(x, 12) @ torch.randn(12, 10),
    }
    model = Heads(body(), {"price": Times(1000.0), "ten": mlp(128, 10)})
    return trained(model, x, y, squares)


class Times(nn.Module):
    """A linear head for one large number."""

    def __init__(self, factor: float) -> None:
        """With the factor that its output is multiplied by."""
        super().__init__()
        self.linear, self.factor = nn.Linear(128, 1), factor

    def forward(self, x: Tensor) -> Tensor:
        """The number."""
        scaled: Tensor = self.factor * self.linear(x)
        return scaled


def regression() -> Subject:
    """Three numbers that rise and fall together."""
    x = torch.randn(EXAMPLES + TEST, INPUTS)
    common = hidden(x, 6)
    y = {"three": common @ torch.randn(6, 1) + 0.1 * common @ torch.randn(6, 3)}
    return trained(Heads(body(), {"three": mlp(128, 3)}), x, y, squares)


def multi_label() -> Subject:
    """Five labels that are mostly there all at once or not at all."""
    x = torch.randn(EXAMPLES + TEST, INPUTS)
    common = hidden(x, 6) @ torch.randn(6, 1)
    y = {"labels": (2 * common + 0.5 * torch.randn(len(x), 5) > 0).float()}

    def loss(z: Outputs, y: Outputs) -> Tensor:
        return F.binary_cross_entropy_with_logits(z["labels"], y["labels"])

    return trained(Heads(body(), {"labels": mlp(128, 5)}), x, y, loss)


def policy() -> Subject:
    """Logits of six actions, and the value of the state in the hundreds."""
    x = torch.randn(EXAMPLES + TEST, INPUTS)
    value = 300 * hidden(x, 8) @ torch.randn(8, 1)
    y = {"actions": (hidden(x, 8) @ torch.randn(8, 6)).argmax(1), "value": value}

    def loss(z: Outputs, y: Outputs) -> Tensor:
        error = F.mse_loss(z["value"], y["value"]) / y["value"].var()
        return F.cross_entropy(z["actions"], y["actions"]) + error

    return trained(Heads(body(), {"actions": mlp(128, 6), "value": Times(300.0)}), x, y, loss)


def image_to_image() -> Subject:
    """Blurs pictures of three channels that are nearly grey."""
    grey = torch.randn(1024 + TEST, 1, 12, 12).repeat(1, 3, 1, 1)
    x = grey + 0.1 * torch.randn_like(grey)
    convolutions = nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 24, 3, padding=1), nn.ReLU()
    )
    model = Heads(convolutions, {"image": nn.Conv2d(24, 3, 3, padding=1)})
    return trained(model, x, {"image": F.avg_pool2d(x, 3, 1, 1)}, squares, 400)


def boxes() -> Subject:
    """One bright rectangle on noise: its corners in pixels, and which of four textures it has."""
    count, size = 2048 + TEST, 24
    low = torch.randint(0, size // 2, (count, 2))
    high = low + torch.randint(5, size // 2, (count, 2))
    kind = torch.randint(4, (count,))
    rows, columns = torch.arange(size)[:, None], torch.arange(size)[None]
    textures = torch.stack([rows + 0 * columns, columns + 0 * rows, rows + columns, rows - columns])
    texture = 1.0 + (textures % 3 == 0).float()
    inside = (rows >= low[:, 0, None, None]) & (rows < high[:, 0, None, None])
    inside = inside & (columns >= low[:, 1, None, None]) & (columns < high[:, 1, None, None])
    x = (0.3 * torch.randn(count, size, size) + inside * texture[kind])[:, None]
    convolutions = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 36, 128), nn.ReLU(),
    )  # fmt: skip
    y = {"boxes": torch.cat([low, high], 1).float(), "classes": kind}

    def loss(z: Outputs, y: Outputs) -> Tensor:
        error = F.mse_loss(z["boxes"], y["boxes"]) / y["boxes"].var()
        return F.cross_entropy(z["classes"], y["classes"]) + error

    heads: dict[str, nn.Module] = {"boxes": mlp(128, 4), "classes": mlp(128, 4)}
    return trained(Heads(convolutions, heads), x, y, loss)


SUBJECTS: dict[str, Callable[[], Subject]] = {
    "two classifications": two_classifications,
    "two regressions": two_regressions,
    "regression": regression,
    "multi-label": multi_label,
    "image to image": image_to_image,
    "policy": policy,
    "boxes and classes": boxes,
}
