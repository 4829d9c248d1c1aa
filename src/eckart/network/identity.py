"""Identify a network by a fingerprint of its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from eckart.errors import InputError, MismatchError

_COMPRESSED = (torch.sparse_csr, torch.sparse_bsr)


def fingerprint(model: nn.Module) -> str:
    """A short hash of every entry of all parameters and buffers, so other weights differ.

    It is the same on every device, and for a network that is sharded over ranks, all of which then
    have to ask. Dtypes are part of it, because outputs depend on them.

    Raises:
        InputError: a tensor is on the meta device, or its numbers cannot be read.

    Cost: one pass over the weights, hashed at 1.2 GB/s on one core.
    """
    digest = hashlib.sha256()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if is_lazy(tensor):
            continue
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        for part in _parts(name, tensor.detach()):
            digest.update(_bytes(name, part))
    return digest.hexdigest()[:16]


def check_whole(model: nn.Module) -> None:
    """Raise ``InputError`` if each rank of a process group has a part of every weight."""
    if any(hasattr(parameter, "full_tensor") for parameter in model.parameters()):
        raise InputError(
            "the network is sharded over ranks (FSDP2): its moments can be gathered, and are those "
            "of the whole network; go on with that one, in one process"
        )


def check_same_network(model: nn.Module, expected: str, what: str) -> None:
    """Raise ``MismatchError`` unless the network is the one that moments or a plan were made on."""
    check_fingerprint(fingerprint(model), expected, what)


def check_fingerprint(found: str, expected: str, what: str) -> None:
    """Raise ``MismatchError`` unless a network's fingerprint is the expected one."""
    if found != expected:
        raise MismatchError(
            f"{what} came from another network (fingerprint {expected}, this one has {found}): "
            "calibrate this network, with the weights it has now"
        )


def check_numbers(name: str, tensor: Tensor) -> None:
    """Raise ``InputError`` if a tensor is on the meta device."""
    if tensor.is_meta:
        raise InputError(
            f"the tensor {name!r:.80} is on the meta device and holds no numbers: load the "
            "network's weights first"
        )


def _parts(name: str, tensor: Tensor) -> Iterator[Tensor]:
    """The dense tensors that make up a tensor: itself, unless it is sparse or quantised."""
    check_numbers(name, tensor)
    if hasattr(tensor, "full_tensor"):  # each rank has a part; one tensor at a time is gathered
        tensor = tensor.full_tensor()
    if tensor.layout == torch.sparse_coo:
        tensor = tensor.coalesce()
        yield from (tensor.indices(), tensor.values())
    elif tensor.layout in _COMPRESSED:
        yield from (tensor.crow_indices(), tensor.col_indices(), tensor.values())
    elif tensor.layout != torch.strided:
        raise InputError(
            f"the tensor {name!r:.80} is sparse ({tensor.layout}): make it dense, with .to_dense()"
        )
    else:
        yield tensor.dequantize() if tensor.is_quantized else tensor


def _bytes(name: str, tensor: Tensor) -> memoryview:
    try:
        plain = tensor.cpu().contiguous().resolve_conj().resolve_neg()
        return plain.flatten().view(torch.uint8).numpy().data
    except (NotImplementedError, RuntimeError, TypeError) as error:
        raise InputError(
            f"the numbers of the tensor {name!r:.80} ({type(tensor).__name__}, {tensor.dtype}) "
            f"cannot be read ({error!s:.120}): convert it to a plain tensor first"
        ) from error
