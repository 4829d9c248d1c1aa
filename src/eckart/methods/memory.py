"""Decompositions that are kept on disk, so that they are made once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import final
from urllib.parse import quote

import torch
from torch import Tensor

from eckart.errors import CheckpointError
from eckart.linalg import NestedFactors
from eckart.records.workspace import header_of, read_tensors, write_tensors

FORMAT = "eckart.decomposition/1"
_log = logging.getLogger("eckart")


@final
@dataclass(frozen=True)
class Memory:
    """What was decomposed of one layer, one file for each method.

    Factors are kept in float32, those of a float64 layer in float64: a layer of out×in takes
    ``min(out, in)·(out + in)`` of them. Losses are float64.

    Attributes:
        directory: where the files are.
        layer: its name and the damping, which the file's name begins with.
        dtype: of the layer's weight.
    """

    directory: Path
    layer: str
    dtype: torch.dtype

    def losses(self, method: str, decompose: Callable[[], NestedFactors]) -> Tensor:
        """The losses of all ranks; the factors are left where they are."""
        return read_tensors(self._made(method, decompose), ["losses"])[0].clone()

    def factors(self, method: str, decompose: Callable[[], NestedFactors]) -> NestedFactors:
        """The factors of all ranks, decomposed if that was not done before."""
        names = [field.name for field in fields(NestedFactors)]
        found = read_tensors(self._made(method, decompose), names)
        return NestedFactors(**{n: t.double() for n, t in zip(names, found, strict=True)})

    def _made(self, method: str, decompose: Callable[[], NestedFactors]) -> Path:
        """The file of a decomposition, written if there is none."""
        title = {"format": FORMAT, "layer": self.layer, "method": method}
        path = self.directory / f"{quote(f'{self.layer} {method}', safe=' ')}.safetensors"
        if path.exists():
            if header_of(path) != title:
                raise CheckpointError(f"{path} is no decomposition {title}: delete it")
            return path
        _log.info("decomposing %s", path.name)
        dtype = torch.promote_types(self.dtype, torch.float32)
        tensors = {k: t.contiguous() for k, t in vars(decompose()).items()}
        factors = {k: t.to(dtype) for k, t in tensors.items() if k != "losses"}
        write_tensors(path, {**tensors, **factors}, title)
        return path
