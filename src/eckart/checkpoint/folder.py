"""The folder of a network: a single rename replaces the old network by the new one.

::

    eckart.json                          the structure, and which file holds the weights
    weights-0123456789abcdef.safetensors named by a hash of its content: two networks never share it
    config.json, README.md, …            for ``transformers`` and for people; eckart reads none

New weights are written beside the old ones. Then ``eckart.json``, which names them, is renamed into
place; this is the moment of change. Files of the old network are removed afterwards, or by the next
save.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from eckart.errors import MALFORMED, CheckpointError, WriteError
from eckart.storage.compact import joined, squeezed
from eckart.storage.header import Header, encoded, header_for
from eckart.storage.leftovers import folder_beside, held, remove_leftovers
from eckart.storage.reading import read_json, write_sealed
from eckart.storage.tensors import write_with_header
from eckart.storage.writing import make_folder, shown, writable, write_bytes, write_json

STRUCTURE = "eckart.json"
SQUEEZED = "compressed"
"""The entry that holds what else the structure says, where that is long beside the weights."""
LEGIBLE = ("format", "version")
INDEX = "model.safetensors.index.json"
_WEIGHTS = re.compile(r"weights-[0-9a-f]{16}\.safetensors")
_EARLIER = ("model.safetensors", "eckart.safetensors")  # transformers' name; formats up to 3
_FORMAT = {"format": "pt"}
_LITTLE = 0.01  # of the bytes of the weights
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")


def is_weights(name: Any) -> bool:
    """Whether a file of weights may have this name."""
    return isinstance(name, str) and _WEIGHTS.fullmatch(name) is not None


@contextmanager
def replaceable(directory: str | Path, for_transformers: bool) -> Iterator[Path]:
    """Hold a folder for one save at a time, and give an empty folder in it for preparing files.

    Raises:
        WriteError: the folder cannot be written to, or holds pickled weights.
    """
    folder = make_folder(directory)
    writable(folder / STRUCTURE)
    pickled = [name for name in _PICKLED if (folder / name).exists()]
    if for_transformers and pickled:
        raise WriteError(
            f"cannot save to {shown(folder)}: transformers would read {pickled[0]} there instead; "
            "give another folder"
        )
    with held(folder):
        remove_leftovers(folder)
        with folder_beside(folder / STRUCTURE) as prepared:
            yield prepared


def replace_network(
    folder: Path,
    structure: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    prepared: Path,
    with_index: bool,
    compact: bool,
) -> None:
    """Replace the network in a folder.

    Args:
        folder: the folder whose network is replaced.
        structure: of the new network, without its weights.
        weights: of the new network.
        prepared: folder of the other files of the new network.
        with_index: whether to write the index by which ``transformers`` finds the weights.
        compact: whether what only describes the weights may be compressed, where it would take more
            than a hundredth of their bytes.

    Raises:
        WriteError: the disk is full, or a file cannot be written.
    """
    files = sorted(path for path in prepared.rglob("*") if path.is_file())
    for path in files:
        _place_of(path, prepared, folder)
    stored, header = _laid_out(weights, compact)
    name = f"weights-{header.digest[:16]}.safetensors"
    told = _compact(structure, weights) if compact else structure
    described = {**told, "weights": {"file": name, "digest": header.digest}}
    try:
        write_with_header(folder / name, stored, header)
        write_sealed(folder / STRUCTURE, described)
    except BaseException:
        if not _named(folder, name):
            _remove(folder, [name])
        raise
    _remove(folder, [INDEX, *_EARLIER])
    for path in files:
        write_bytes(_place_of(path, prepared, folder), path.read_bytes())
    if with_index:
        places = dict.fromkeys(weights, name)
        index = {"metadata": {"total_size": _size(weights)}, "weight_map": places}
        write_json(folder / INDEX, index)
    old = [p.name for p in folder.iterdir() if is_weights(p.name) and p.name != name]
    _remove(folder, old)


def _laid_out(weights: Mapping[str, Tensor], compact: bool) -> tuple[Mapping[str, Tensor], Header]:
    """The tensors of a file with their header: as they are, or joined."""
    header = header_for(weights, _FORMAT)
    if not compact or len(encoded(header)) <= _LITTLE * _size(weights):
        return weights, header
    stored, layout = joined(weights)
    return stored, header_for(stored, {**_FORMAT, **layout})


def _compact(structure: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Mapping[str, Any]:
    """A structure, compressed but for what tells its format, where it is long beside weights."""
    if len(json.dumps(structure)) <= _LITTLE * _size(weights):
        return structure
    rest = {key: value for key, value in structure.items() if key not in LEGIBLE}
    legible = {key: value for key, value in structure.items() if key in LEGIBLE}
    return {**legible, SQUEEZED: squeezed(rest)}


def _size(weights: Mapping[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in weights.values())


def _named(folder: Path, weights: str) -> bool:
    """Whether the network in a folder may have this file of weights."""
    if not (folder / STRUCTURE).exists():
        return False
    try:
        return bool(read_json(folder / STRUCTURE)["weights"]["file"] == weights)
    except (CheckpointError, *MALFORMED):
        return False


def _place_of(path: Path, prepared: Path, folder: Path) -> Path:
    place = folder / path.relative_to(prepared)
    make_folder(place.parent)
    return writable(place)


def _remove(folder: Path, names: list[str]) -> None:
    for name in names:
        with suppress(OSError):
            (folder / name).unlink()
