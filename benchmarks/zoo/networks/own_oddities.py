"""Hand-written networks with something that trips tools: parametrised weights, ties, wrappers."""

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from benchmarks.zoo.network import Network, drawn, images
from benchmarks.zoo.networks.own_outputs import mlp

ROWS = drawn(32)


def small() -> nn.Sequential:
    """A classifier of two convolutions."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 10),
    )


def weight_normed() -> nn.Module:
    """Weight norm by parametrisation on every layer."""
    network = small()
    for layer in (network[0], network[2], network[5]):
        parametrizations.weight_norm(layer)
    return network


def hooked_weight_norm() -> nn.Module:
    """Weight norm by the old hooks."""
    network = small()
    for layer in (network[0], network[2], network[5]):
        nn.utils.weight_norm(layer)
    return network


def spectral_normed() -> nn.Module:
    """Spectral norm, whose power iteration moves in training."""
    network = small()
    for layer in (network[0], network[2], network[5]):
        parametrizations.spectral_norm(layer)
    return network


def pruned() -> nn.Module:
    """Masks of torch's pruning on every layer."""
    network = small()
    for layer in (network[0], network[2], network[5]):
        prune.l1_unstructured(layer, "weight", 0.3)
    return network


def compiled() -> nn.Module:
    """Wrapped by `torch.compile`; the backend compiles nothing."""
    network: nn.Module = torch.compile(small(), backend="eager")  # type: ignore[assignment]
    return network


class Dependent(nn.Module):
    """Calls a layer once or twice, depending on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.out = nn.Linear(32, 48), nn.Linear(48, 48), nn.Linear(48, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.again(self.first(x).relu()).relu()
        if x.sum() > x.numel() * 0.1:
            x = self.again(x).relu()
        out: Tensor = self.out(x)
        return out


class NeverCalled(nn.Module):
    """An auxiliary head that is only used in training."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.out, self.auxiliary = mlp(32, 48, 48), nn.Linear(48, 5), mlp(48, 64, 5)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        hidden = self.body(x).relu()
        return (self.out(hidden), self.auxiliary(hidden)) if self.training else self.out(hidden)


class Expanded(nn.Module):
    """A buffer that is one row, expanded."""

    offset: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("offset", torch.randn(1, 48).expand(6, 48))
        self.first, self.out = nn.Linear(32, 48), nn.Linear(48, 5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out((self.first(x) + self.offset[0]).relu())
        return out


class Tied(nn.Module):
    """An autoencoder whose decoder is the encoder's transpose, and two layers of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.one, self.two = nn.Linear(32, 24), nn.Linear(24, 24), nn.Linear(24, 24)
        self.two.weight = self.one.weight
        self.out = nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        code = self.two(self.one(self.encoder(x).relu()).relu())
        out: Tensor = self.out(F.linear(code, self.encoder.weight.T))
        return out


class Hyper(nn.Module):
    """A network that makes the weights of another for each example."""

    def __init__(self) -> None:
        super().__init__()
        self.maker, self.out = mlp(8, 32, 24 * 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.maker(x[:, :8]).view(-1, 16, 24)
        out: Tensor = self.out((weights @ x[:, 8:, None])[..., 0].relu())
        return out


class Mixture(nn.Module):
    """Experts in a list, of which a gate picks two; some may get nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(32, 4)
        self.experts = nn.ModuleList([mlp(32, 48, 32) for _ in range(4)])
        self.out = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        shares, chosen = self.gate(x).softmax(1).topk(2, 1)
        mixed = torch.zeros_like(x)
        for index, expert in enumerate(self.experts):
            rows, place = (chosen == index).nonzero(as_tuple=True)
            if len(rows):
                mixed = mixed.index_add(0, rows, expert(x[rows]) * shares[rows, place, None])
        out: Tensor = self.out(mixed)
        return out


class Ode(nn.Module):
    """Euler steps of one function, so its layers are called eight times."""

    def __init__(self) -> None:
        super().__init__()
        self.slope, self.out = (
            nn.Sequential(nn.Linear(32, 48), nn.Tanh(), nn.Linear(48, 32)),
            nn.Linear(32, 5),
        )

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(8):
            x = x + self.slope(x) / 8
        out: Tensor = self.out(x)
        return out


class Gated(nn.Module):
    """Squeeze and excitation, depthwise convolution, channel shuffle by a view."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 24, 1)
        self.depthwise = nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.grouped = nn.Conv2d(24, 24, 3, padding=1, groups=4, padding_mode="reflect")
        self.gate = nn.Sequential(nn.Conv2d(24, 8, 1), nn.ReLU(), nn.Conv2d(8, 24, 1), nn.Sigmoid())
        self.out = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.grouped(self.depthwise(self.first(x)).relu())
        x = x.unflatten(1, (4, 6)).transpose(1, 2).flatten(1, 2)
        x = x * self.gate(x.mean((2, 3), keepdim=True))
        out: Tensor = self.out(x.mean((2, 3)))
        return out


class Reader(nn.Module):
    """A parent that reads the weight of its child."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(32, 48), nn.Linear(48, 48), nn.Linear(48, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.to(self.first.weight.dtype)).relu()
        out: Tensor = self.out(F.linear(x, self.second.weight, self.second.bias).relu())
        return out


class Spectrum(nn.Module):
    """Complex numbers between two linear layers, as Fourier neural operators have."""

    def __init__(self) -> None:
        super().__init__()
        self.lift, self.out = nn.Linear(1, 16), nn.Linear(16, 1)
        self.mix = nn.Parameter(torch.randn(16, 16, 5, dtype=torch.cfloat) / 16)

    def forward(self, x: Tensor) -> Tensor:
        lifted = self.lift(x[..., None]).transpose(1, 2)
        modes = torch.fft.rfft(lifted)[..., :5]
        mixed = torch.einsum("bim,iom->bom", modes, self.mix)
        back = torch.fft.irfft(mixed, n=x.shape[1])
        out: Tensor = self.out((lifted + back).transpose(1, 2).relu())[..., 0]
        return out


def halved() -> nn.Module:
    """Weights in bfloat16, with inputs cast at the door."""
    return Cast(mlp(32, 48, 48, 5).bfloat16())


class Cast(nn.Module):
    """A network in another dtype than its inputs."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inside(x.to(torch.bfloat16))
        return out


def repeated() -> nn.Module:
    """One block registered under two names, beside an equal copy."""
    one = nn.Sequential(nn.Linear(32, 32), nn.ReLU())
    return nn.Sequential(one, copy.deepcopy(one), one, nn.Linear(32, 5))


ODDITIES: dict[str, tuple[Callable[[], nn.Module], Callable[[], list[Tensor]]]] = {
    "weight-norm": (weight_normed, images(16)),
    "weight-norm-by-hooks": (hooked_weight_norm, images(16)),
    "spectral-norm": (spectral_normed, images(16)),
    "pruning-masks": (pruned, images(16)),
    "data-parallel": (lambda: nn.DataParallel(small()), images(16)),
    "compiled": (compiled, images(16)),
    "data-dependent-calls": (Dependent, ROWS),
    "never-called-head": (NeverCalled, ROWS),
    "expanded-buffer": (Expanded, ROWS),
    "tied-weights": (Tied, ROWS),
    "one-block-twice": (repeated, ROWS),
    "hypernetwork": (Hyper, ROWS),
    "mixture-of-experts": (Mixture, ROWS),
    "neural-ode": (Ode, ROWS),
    "gated-shuffled": (Gated, images(16)),
    "weight-reader": (Reader, ROWS),
    "fourier-operator": (Spectrum, drawn(16)),
    "bfloat16": (halved, ROWS),
}
NETWORKS = [
    Network(f"own/{name}", "own", "oddity", make, batches)
    for name, (make, batches) in ODDITIES.items()
]
