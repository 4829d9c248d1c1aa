"""Hand-written networks whose outputs or inputs are not one tensor of logits."""

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.zoo.network import BATCHES, EXAMPLES, Network, drawn, keywords, normal, whole


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with a ReLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class TwoHeads(nn.Module):
    """A body with two classifiers, as a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.few, self.many = mlp(32, 48, 48), nn.Linear(48, 2), nn.Linear(48, 40)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.body(x).relu()
        return self.few(hidden), self.many(hidden)


@dataclass
class Found:
    """What `Described` returns."""

    boxes: Tensor
    scores: Tensor
    kinds: Tensor


class Described(TwoHeads):
    """The same as a dataclass, with whole numbers beside it."""

    def forward(self, x: Tensor) -> Found:  # type: ignore[override]
        boxes, scores = super().forward(x)
        return Found(boxes, scores, scores.argmax(1))


class Judged(NamedTuple):
    """What `ActorCritic` returns."""

    action: Tensor
    value: Tensor


class ActorCritic(nn.Module):
    """A policy and its value, of very different scale."""

    def __init__(self) -> None:
        super().__init__()
        self.body = mlp(24, 48, 48)
        self.policy, self.value = nn.Linear(48, 6), nn.Linear(48, 1)

    def forward(self, x: Tensor) -> Judged:
        hidden = self.body(x).relu()
        return Judged(self.policy(hidden).softmax(1), 1000 * self.value(hidden)[:, 0])


class Physics(nn.Module):
    """A solution and its derivative, taken by autograd in the forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(2, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh(), nn.Linear(48, 1)
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            u = self.net(x)
            (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        return {"u": u, "residual": slope[:, :1] + u * slope[:, 1:]}


class Fields(nn.Module):
    """Factorisation machine for clicks: embeddings of fields, and a deep part."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding(20, 8) for _ in range(4)])
        self.deep = mlp(36, 48, 24, 1)

    def forward(self, categories: Tensor, numbers: Tensor) -> Tensor:
        found = [table(categories[:, i]) for i, table in enumerate(self.tables)]
        crossed = (torch.stack(found).sum(0) ** 2 - (torch.stack(found) ** 2).sum(0)).sum(1)
        deep: Tensor = self.deep(torch.cat([*found, numbers], 1))[:, 0]
        return deep + crossed


class Graph(nn.Module):
    """Two graph convolutions with a dense adjacency; the nodes are the examples."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 48), nn.Linear(48, 5)

    def forward(self, nodes: Tensor, adjacency: Tensor) -> Tensor:
        weights = adjacency.softmax(1)
        out: Tensor = weights @ self.second((weights @ self.first(nodes)).relu())
        return out


class Points(nn.Module):
    """PointNet: one MLP for each point of a cloud, then the maximum."""

    def __init__(self) -> None:
        super().__init__()
        self.local, self.whole = mlp(3, 32, 48), mlp(48, 32, 10)

    def forward(self, cloud: Tensor) -> Tensor:
        out: Tensor = self.whole(self.local(cloud).amax(1))
        return out


class Pair(nn.Module):
    """Two inputs that are mixed by a bilinear form."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(16, 24), nn.Linear(12, 24)
        self.mixed, self.out = nn.Bilinear(24, 24, 16), nn.Linear(16, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        out: Tensor = self.out(self.mixed(self.left(left).tanh(), self.right(right).tanh()).relu())
        return out


def graphs() -> list[tuple[tuple[Tensor, Tensor], None]]:
    """Whole graphs: nodes and their adjacency, without targets."""
    return [((torch.randn(9, 16), torch.randn(9, 9)), None) for _ in range(BATCHES)]


def pairs() -> list[tuple[tuple[Tensor, Tensor], None]]:
    """Two positional inputs."""
    return [((torch.randn(EXAMPLES, 16), torch.randn(EXAMPLES, 12)), None) for _ in range(BATCHES)]


ROWS = drawn(32)
CLICKS = keywords(categories=whole(20, 4), numbers=normal(4))
NETWORKS = [
    Network("own/regression", "own", "regression", lambda: mlp(32, 48, 48, 3), ROWS),
    Network("own/multi-label", "own", "regression", lambda: mlp(32, 64, 64, 12), ROWS),
    Network("own/one-output", "own", "regression", lambda: mlp(32, 48, 1), ROWS),
    Network("own/two-heads", "own", "structured outputs", TwoHeads, ROWS),
    Network("own/dataclass", "own", "structured outputs", Described, ROWS),
    Network("own/actor-critic", "own", "structured outputs", ActorCritic, drawn(24)),
    Network("own/physics-informed", "own", "autograd inside", Physics, drawn(2)),
    Network("own/click-prediction", "own", "tables", Fields, CLICKS),
    Network("own/graph", "own", "several inputs", Graph, graphs),
    Network("own/point-cloud", "own", "rows", Points, drawn(20, 3)),
    Network("own/bilinear", "own", "several inputs", Pair, pairs),
]
