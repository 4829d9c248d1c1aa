"""Damage to files of tensors: to the header's structure, and by somebody who knows the digests."""

import json
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor

from benchmarks.robustness.mutations import as_text, rewritten
from eckart.errors import InputError
from eckart.storage.header import Header, bytes_of, encoded, header_for
from eckart.storage.tensors import opened_tensors


def with_header_changed(data: bytes, chance: Random) -> bytes:
    """The file with one thing in its header, or in the JSON in its metadata, changed."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    texts = [key for key, text in header["__metadata__"].items() if text[:1] in "[{"]
    if texts and chance.random() < 0.5:
        key = chance.choice(texts)
        changed = as_text(rewritten(json.loads(header["__metadata__"][key]), chance), chance)
        header["__metadata__"][key] = changed.decode()
        text = json.dumps(header).encode()
    else:
        text = as_text(rewritten(header, chance), chance)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def with_numbers_traded(data: bytes, chance: Random) -> bytes:
    """The file with the numbers of two tensors in each other's place, if they have one size."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    del header["__metadata__"]
    (a, b), (c, d) = (raw["data_offsets"] for raw in chance.sample(list(header.values()), 2))
    if b - a != d - c:
        return data[:start] + data[start:][::-1]
    body = bytearray(data[start:])
    body[a:b], body[c:d] = body[c:d], body[a:b]
    return data[:start] + bytes(body)


def content_of(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file."""
    with opened_tensors(path) as file:
        tensors = {name: file.read(name) for name in file.header.entries}
        return tensors, dict(file.header.metadata)


def forged(
    tensors: dict[str, Tensor], metadata: dict[str, str], chance: Random
) -> tuple[bytes, Header]:
    """A file with other tensors or metadata whose digests are right."""
    tensors, metadata = dict(tensors), dict(metadata)
    texts = [key for key, text in metadata.items() if text[:1] in "[{"]
    if texts and chance.random() < 0.7:
        key = chance.choice(texts)
        metadata[key] = as_text(rewritten(json.loads(metadata[key]), chance), chance).decode()
    else:
        _forge_tensor(tensors, chance)
    header = header_for(tensors, metadata)
    body = b"".join(bytes(bytes_of(tensors[name])) for name in header.entries)
    return encoded(header) + body, header


def _forge_tensor(tensors: dict[str, Tensor], chance: Random) -> None:
    name, other = chance.choice(list(tensors)), chance.choice(list(tensors))
    tensor = tensors[name]
    changes: list[Any] = [
        lambda: tensors.pop(name),
        lambda: tensors.update({name + "_": tensors.pop(name)}),
        lambda: tensors.update({name: tensors[other], other: tensor}),
        lambda: tensors.update({name: tensor.flatten()}),
        lambda: tensors.update({name: tensor[..., :0]}),
        lambda: tensors.update({name: torch.full_like(tensor, float("nan"))}),
        lambda: tensors.update({name: torch.full_like(tensor, float("inf"))}),
        lambda: tensors.update({name: tensor * -1e30}),
        lambda: tensors.update({name: tensor.half()}),
        lambda: tensors.update({name: tensor.to(torch.int64)}),
        lambda: tensors.update({name: torch.zeros((1,) * 40)}),
    ]
    try:
        chance.choice(changes)()
    except (RuntimeError, InputError):
        tensors.pop(name, None)
