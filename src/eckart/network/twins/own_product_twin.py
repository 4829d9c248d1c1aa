"""Linear layers that somebody wrote without ``nn.Linear``."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import final

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import is_lazy

from eckart.layers import type_of
from eckart.layers.naming import class_name
from eckart.network.twins.inherited import INNER
from eckart.network.twins.own_product import Matrix, OwnProduct, how_of, product_class
from eckart.network.twins.placing import with_twins
from eckart.network.twins.plain import is_hooked, linear_of
from eckart.running.hooks import untouched

_LARGE = 50.0  # times a usual input: where a layer that bends shows it
_CLOSE = 64  # roundings, relative to the largest output


@final
class OwnProductTwin:
    """``F.linear(x, self.w, self.b)``, ``x @ self.w + self.b``, scaled or not, and nothing else.

    Whether a module is one is found out by running it with other numbers in its parameters, in eval
    and in train mode.
    """

    name = "own product"

    def applies(self, module: nn.Module) -> bool:
        """It has one matrix and at most one vector, and multiplies with them."""
        return _matrix(module) is not None

    def open(self, module: nn.Module) -> nn.Module:
        """The same class around a linear layer; over the parameters where nothing is computed."""
        matrix = _matrix(module)
        if matrix is None:
            raise TypeError(f"{class_name(module)} does more than multiply with a matrix")
        own = module._parameters
        weight, bias = own[matrix.weight], own[matrix.bias] if matrix.bias is not None else None
        inner = linear_of(*_numbers(matrix, weight, bias), module)
        opened = with_twins(module, {})
        for name in (matrix.weight, matrix.bias):
            opened._parameters.pop(name or "", None)
        opened.__class__ = product_class(type(module), matrix)
        opened._modules[INNER] = inner
        return opened

    def close(self, module: nn.Module) -> nn.Module | None:
        """The class itself again, if its parameters are those of the linear layer as they are."""
        if not isinstance(module, OwnProduct) or type(module.inner) is not nn.Linear:
            return None
        matrix = how_of(module)
        if (matrix.scale, matrix.shift, matrix.transposed) != (1, 1, False):
            return None
        closed = with_twins(module, {})
        closed.__class__ = type(module).__bases__[1]
        del closed._modules[INNER]
        inner = module.inner._parameters
        own = {matrix.weight: inner["weight"]}
        own |= {} if matrix.bias is None else {matrix.bias: inner["bias"]}
        closed._parameters = {**own, **closed._parameters}
        return closed

    def note(self, module: nn.Module) -> str | None:
        """Whether the weight of the linear layer is another tensor."""
        matrix = _matrix(module)
        if matrix is None or not (matrix.transposed or matrix.scale != 1):
            return None
        return f"a linear layer takes the place of its own product ({class_name(module)})"


@torch.no_grad()
def _numbers(
    matrix: Matrix, weight: Tensor | None, bias: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of the linear layer."""
    if weight is None:
        raise TypeError("a product without a weight")
    shifted = bias if bias is None or matrix.shift == 1 else bias * matrix.shift
    return matrix.effective(weight), shifted


def _matrix(module: nn.Module) -> Matrix | None:
    """How a module multiplies, if it does nothing else."""
    own = {name: p for name, p in module._parameters.items() if p is not None}
    matrices = [name for name, p in own.items() if p.dim() == 2]
    vectors = [name for name, p in own.items() if p.dim() == 1]
    if len(matrices) != 1 or len(vectors) > 1 or len(own) != len(matrices) + len(vectors):
        return None
    usable = all(p.is_floating_point() and not p.is_meta and not is_lazy(p) for p in own.values())
    busy = (
        module._modules or is_hooked(module) or "forward" in vars(module) or hasattr(module, INNER)
    )
    if busy or not usable or isinstance(module, OwnProduct) or type_of(module) is not None:
        return None
    shape = own[matrices[0]].shape
    if min(shape) < 2 or type(module).__module__.startswith(("torch.nn.", "eckart.")):
        return None
    return _tried(module, own, matrices[0], vectors[0] if vectors else None)


@torch.no_grad()
def _tried(
    module: nn.Module, own: Mapping[str, Tensor], weight: str, bias: str | None
) -> Matrix | None:
    """Run it with random numbers in its parameters, the matrix taken either way."""
    generator = torch.Generator().manual_seed(0)
    like = own[weight]
    numbers = {n: torch.randn(p.shape, generator=generator).to(p) for n, p in own.items()}
    for transposed in (False, True):
        width = like.shape[0 if transposed else 1]
        x = torch.randn(2, 3, width, generator=generator).to(like)
        with untouched(module):
            try:
                found = _fitted(module, numbers, x, Matrix(weight, bias, transposed, 1.0, 1.0))
                if found is not None and _always(module, numbers, x, found):
                    return found
            except Exception:  # the module's own forward may raise anything
                continue
    return None


def _fitted(
    module: nn.Module, numbers: Mapping[str, Tensor], x: Tensor, tried: Matrix
) -> Matrix | None:
    """The same with its scale and shift, by least squares; whole where they are nearly so."""
    still = functional_call(module, dict(numbers), (torch.zeros_like(x),))
    moved = functional_call(module, dict(numbers), (x,)) - still
    product_ = x @ tried.effective(numbers[tried.weight]).T
    if moved.shape != product_.shape:
        return None
    scale = _ratio(moved, product_)
    vector = None if tried.bias is None else numbers[tried.bias].expand_as(still)
    shift = 1.0 if vector is None else _ratio(still, vector)
    if scale == 0 or shift == 0:
        return None
    return Matrix(tried.weight, tried.bias, tried.transposed, scale, shift)


def _ratio(values: Tensor, of: Tensor) -> float:
    ratio = float((values.double() * of.double()).sum() / of.double().square().sum())
    near = _CLOSE * torch.finfo(of.dtype).eps
    return 1.0 if abs(ratio - 1) <= near else ratio


def _always(module: nn.Module, numbers: Mapping[str, Tensor], x: Tensor, matrix: Matrix) -> bool:
    """Whether it is this in both modes, for few usual inputs and for more large ones."""
    bias = None if matrix.bias is None else matrix.shift * numbers[matrix.bias]
    weight = matrix.effective(numbers[matrix.weight])
    for training, given in product((False, True), (x, _LARGE * torch.cat([x, x], 1))):
        module.train(training)
        ours = functional_call(module, dict(numbers), (given,))
        theirs = nn.functional.linear(given, weight, bias)
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            return False
        error = (ours - theirs).abs().max()
        if not error <= _CLOSE * torch.finfo(theirs.dtype).eps * theirs.abs().max():
            return False
    return True
