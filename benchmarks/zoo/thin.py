"""Thin versions of networks whose classes fix their widths."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import signature
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

WIDTHS: dict[type[nn.Module], tuple[str, ...]] = {
    _ConvNd: ("in_channels", "out_channels", "groups"),
    nn.Linear: ("in_features", "out_features"),
    nn.LayerNorm: ("normalized_shape",),
    nn.GroupNorm: ("num_groups", "num_channels"),
    _NormBase: ("num_features",),
}


@contextmanager
def thin(by: int) -> Iterator[None]:
    """Divide every width that `by` divides, while layers are made; the others stay as they are.

    Classes and forward passes stay the library's own. Numbers of classes and of image channels
    should not be multiples of `by`.
    """
    own = {kind: kind.__init__ for kind in WIDTHS}
    try:
        for kind, names in WIDTHS.items():
            setattr(kind, "__init__", _divided(own[kind], names, by))  # noqa: B010
        yield
    finally:
        for kind, init in own.items():
            setattr(kind, "__init__", init)  # noqa: B010


def thinner(by: int, make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """A function that makes the same network with every width divided."""

    def made() -> nn.Module:
        with thin(by):
            return make()

    return made


def _divided(init: Callable[..., None], names: tuple[str, ...], by: int) -> Callable[..., None]:
    parameters = signature(init)

    @wraps(init)
    def divided(*args: Any, **kwargs: Any) -> None:
        given = parameters.bind(*args, **kwargs)
        for name in names:
            width = given.arguments.get(name)
            if isinstance(width, int) and width % by == 0:
                given.arguments[name] = width // by
        init(*given.args, **given.kwargs)

    return divided
