"""Files of eckart changed by somebody who knows how: with digests that fit the new content."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from eckart.storage.header import header_for
from eckart.storage.reading import write_sealed
from eckart.storage.tensors import opened_tensors, write_tensors, write_with_header

Change = Callable[[Any], Any]


def weights_in(directory: Path) -> Path:
    """The file of weights of a saved network."""
    (path,) = directory.glob("weights-*.safetensors")
    return path


def with_structure(directory: Path, change: Change) -> None:
    """Change what ``eckart.json`` says; what is not a dictionary is written as it is."""
    path = directory / "eckart.json"
    structure = json.loads(path.read_text())
    del structure["digest"]
    changed = change(structure)
    if isinstance(changed, dict):
        write_sealed(path, changed)
    else:
        path.write_text(json.dumps(changed))


def with_weights(directory: Path, change: Change) -> None:
    """Change the tensors of a saved network."""
    path = weights_in(directory)
    tensors, metadata = content_of(path)
    tensors = change(tensors)
    header = header_for(tensors, metadata)
    path.unlink()
    name = f"weights-{header.digest[:16]}.safetensors"
    write_with_header(directory / name, tensors, header)
    described = {"file": name, "digest": header.digest}
    with_structure(directory, lambda structure: {**structure, "weights": described})


def content_of(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """Tensors and metadata of a file."""
    with opened_tensors(path) as file:
        tensors = {name: file.read(name) for name in file.header.entries}
        return tensors, file.header.metadata


def with_tensors(path: Path, change: Change) -> None:
    """Change the tensors of a file."""
    tensors, metadata = content_of(path)
    write_tensors(path, change(tensors), metadata)


def with_metadata(path: Path, change: Change) -> None:
    """Change the metadata of a file."""
    tensors, metadata = content_of(path)
    write_tensors(path, tensors, change(metadata))
