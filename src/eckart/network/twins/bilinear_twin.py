"""``nn.Bilinear``: a linear layer of the products of all pairs of its inputs."""

from __future__ import annotations

from typing import cast, final

from torch import Tensor, nn

from eckart.network.twins.plain import is_hooked, is_whole, linear_of, parameter

_MOST = 4096  # products; their moment takes 134 MB


@final
class Pairs(nn.Module):
    """What ``nn.Bilinear`` computes, of one layer.

    Attributes:
        product: from the products ``x_i y_j`` to the outputs.
        in1_features, in2_features, out_features: as in torch's.
    """

    def __init__(self, sizes: tuple[int, int, int], product: nn.Module) -> None:
        """Of its layer."""
        super().__init__()
        self.in1_features, self.in2_features, self.out_features = sizes
        self.product = product

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """As torch's layer."""
        pairs = input1[..., :, None] * input2[..., None, :]
        found: Tensor = self.product(pairs.flatten(-2))
        return found


@final
class BilinearTwin:
    """With or without a bias, where products are not too many; also a subclass that inherits."""

    name = "bilinear"

    def applies(self, module: nn.Module) -> bool:
        """``forward`` is torch's own, and no weight is computed from others."""
        return (
            isinstance(module, nn.Bilinear)
            and type(module).forward is nn.Bilinear.forward
            and set(module._parameters) == {"weight", "bias"}
            and not (module._modules or is_hooked(module))
            and module.weight.is_floating_point()
            and module.in1_features * module.in2_features <= _MOST
        )

    def open(self, module: nn.Module) -> Pairs:
        """A layer over the module's own parameters."""
        old = cast(nn.Bilinear, module)
        product = linear_of(old.weight.flatten(1), old.bias, old)
        sizes = (old.in1_features, old.in2_features, old.out_features)
        return Pairs(sizes, product).train(old.training)

    def close(self, module: nn.Module) -> nn.Module | None:
        """Torch's own layer again, over the parameters of the plain one."""
        if not isinstance(module, Pairs):
            return None
        first, second, outputs = module.in1_features, module.in2_features, module.out_features
        layer = cast(nn.Linear, module.product)
        if not is_whole(layer, first * second, outputs):
            return None
        closed = nn.Bilinear(first, second, outputs, layer.bias is not None, "meta")
        whole = layer.weight.reshape(outputs, first, second)
        closed.weight = parameter(whole.detach(), layer.weight.requires_grad)
        if layer.bias is not None:
            closed.bias = layer.bias
        return closed.train(module.training)

    def note(self, module: nn.Module) -> str | None:
        """Nothing: the weights are those of the module."""
        return None
