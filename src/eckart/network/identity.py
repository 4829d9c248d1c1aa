"""Which network it is: a fingerprint of its weights."""

from __future__ import annotations

import hashlib

from torch import nn
from torch.nn.parameter import is_lazy

from eckart.errors import MismatchError


def fingerprint(model: nn.Module) -> str:
    """A short hash of all parameters and floating buffers: another network differs.

    Of each tensor its name, its shape and a sample of a thousand entries, the same on any device.
    """
    digest = hashlib.sha256()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if is_lazy(tensor) or not tensor.is_floating_point():
            continue
        flat = tensor.detach().flatten()
        sample = flat[:: max(1, len(flat) // 1000)].double().cpu()
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(sample.numpy().tobytes())
    return digest.hexdigest()[:16]


def check_same_network(model: nn.Module, expected: str, what: str) -> None:
    """Raise ``MismatchError`` unless the network is the one that moments or a plan were made on."""
    found = fingerprint(model)
    if found != expected:
        raise MismatchError(
            f"{what} belong to another network (fingerprint {expected}, this one has {found}): "
            "calibrate this network, with the weights it has now"
        )
