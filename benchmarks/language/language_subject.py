"""A dense language model, and the statistics that the methods read."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

from torch import Tensor, nn

import eckart
from benchmarks.peers.forms import Layer, compressible, dense_size, matrix
from benchmarks.peers.low_rank import Spectrum, plain, row_weighted, weighted
from benchmarks.subjects.language import CALIBRATION, Batch


@dataclass(frozen=True)
class Gathered:
    """Per layer, for peers only: mean ``|x|``, row sums of squared gradients, gradients."""

    mean_abs: dict[str, Tensor]
    squares: dict[str, Tensor]
    gradients: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Subject:
    """The dense network, and the statistics that the methods read."""

    model: nn.Module
    calibration: list[Batch]

    @cached_property
    def layers(self) -> dict[str, Layer]:
        """The linear layers of the decoder."""
        return {f"model.layers.{n}": m for n, m in compressible(self.decoder).items()}

    @property
    def size(self) -> int:
        """The number of weights in all of them."""
        return sum(map(dense_size, self.layers.values()))

    @property
    def decoder(self) -> nn.Module:
        """The blocks; their layers are compressed."""
        return self.model.get_submodule("model.layers")

    @cached_property
    def moments(self) -> eckart.Moments:
        """Moments of the inputs, and of the gradients of the next token's cross entropy."""
        return eckart.calibrate(self.model, self.calibration)

    @lru_cache(maxsize=1)  # noqa: B019, there are a hundred thousand options
    def curves(self, methods: str, damping: float | str, rescale: bool) -> eckart.Curves:
        """The curves of methods, with commas between them, and one damping."""
        offer = eckart.Offer(methods=methods.split(","), damping=damping, rescale=rescale)
        return eckart.curves(self.model, self.moments, offer=offer)

    def a(self, name: str) -> Tensor:
        """The input moment of a layer."""
        return self.moments.a(name)[0]

    @cached_property
    def gathered(self) -> Gathered:
        """Gather the peers' statistics in one more pass, sequence by sequence."""
        sums = Gathered({}, {}, {})
        hooks = [m.register_forward_hook(_adding(sums.mean_abs, n)) for n, m in self.layers.items()]
        for sequence in (s for batch in self.calibration for s in batch["input_ids"].split(1)):
            self.model.zero_grad()
            self.model(input_ids=sequence, labels=sequence).loss.backward()
            for name, layer in self.layers.items():
                gradient = gradient_of(layer).double()
                _add(sums.squares, name, gradient.square().sum(1))
                _add(sums.gradients, name, gradient / CALIBRATION[0])
        self.model.zero_grad()
        for hook in hooks:
            hook.remove()
        rows = CALIBRATION[0] * CALIBRATION[1]
        return Gathered(
            {k: v / rows for k, v in sums.mean_abs.items()}, sums.squares, sums.gradients
        )

    @lru_cache(maxsize=1)  # noqa: B019, one kind takes some gigabytes
    def spectra(self, kind: str) -> dict[str, Spectrum]:
        """A peer's decompositions of all layers."""
        make: dict[str, Callable[[str, Tensor], Spectrum]] = {
            "plain": lambda name, w: plain(w),
            "asvd": lambda name, w: weighted(w, self.gathered.mean_abs[name].diag()),
            "fwsvd": lambda name, w: row_weighted(w, self.gathered.squares[name]),
            "whitened": lambda name, w: weighted(w, self.a(name)),
        }
        return {name: make[kind](name, matrix(layer)) for name, layer in self.layers.items()}


def gradient_of(layer: Layer) -> Tensor:
    """The gradient of the last backward pass."""
    if layer.weight.grad is None:
        raise ValueError(f"{layer}: the loss does not depend on its weight")
    return layer.weight.grad


def _add(sums: dict[str, Tensor], name: str, value: Tensor) -> None:
    sums[name] = sums[name] + value if name in sums else value


def _adding(sums: dict[str, Tensor], name: str) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        _add(sums, name, args[0].detach().abs().flatten(0, -2).double().sum(0))

    return hook
