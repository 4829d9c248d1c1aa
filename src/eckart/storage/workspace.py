"""A folder that keeps finished results, so that a killed run can continue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, final

from torch import Tensor

from eckart.errors import CheckpointError, MismatchError
from eckart.storage.header import Header
from eckart.storage.leftovers import remove_leftovers
from eckart.storage.reading import read_sealed, write_sealed
from eckart.storage.tensors import opened_tensors, told_to_delete
from eckart.storage.writing import make_folder

FORMAT = "eckart.workspace/2"
SETTINGS = "workspace.json"


@final
@dataclass(frozen=True)
class Workspace:
    """The finished results for one network, one set of data and one set of settings.

    ::

        workspace.json                  which network, data, settings and layers
        moments-000.safetensors …       each has the moments of some layers
        decompositions/*.safetensors    one per layer, method and damping

    Each file is written completely or not at all, so a file that exists is finished. Only one
    process at a time may work here.

    Attributes:
        directory: the folder.
        settings: what the moments in the folder were gathered from; plain JSON.
    """

    directory: Path
    settings: Mapping[str, Any]

    @classmethod
    def read(cls, directory: str | Path) -> Workspace:
        """The workspace in a folder.

        Raises:
            CheckpointError: the folder has none, or it cannot be read.
        """
        path = Path(directory).absolute() / SETTINGS
        data = read_sealed(path)
        if data.get("format") != FORMAT:
            raise CheckpointError(
                f"{path} has the format {data.get('format')!r:.60}, but this version reads "
                f"{FORMAT}: calibrate again, in another folder"
            )
        settings = data.get("settings")
        if not isinstance(settings, dict) or not _are_texts(settings.get("layers")):
            raise CheckpointError(f"{path} does not name the layers of a workspace")
        return cls(path.parent, settings)

    @classmethod
    def opened(cls, directory: str | Path, settings: Mapping[str, Any]) -> Workspace:
        """The workspace in a folder; it is begun if there is none.

        Raises:
            MismatchError: the workspace is for another network, other data or other settings.
            CheckpointError: the workspace cannot be read or written.
        """
        fresh = cls(Path(directory).absolute(), settings)
        if (fresh.directory / SETTINGS).exists():
            found = cls.read(directory)
            found._check_same(settings)
            found._clean()
            return found
        if fresh.shards:
            raise CheckpointError(f"{directory} holds moments but no {SETTINGS}: use a new folder")
        make_folder(fresh.directory)
        write_sealed(fresh.directory / SETTINGS, {"format": FORMAT, "settings": settings})
        return fresh

    def _check_same(self, settings: Mapping[str, Any]) -> None:
        differing = [key for key in settings if settings[key] != self.settings.get(key)]
        if differing:
            parts = (
                f"{k} {self.settings.get(k)!r:.60}, not {settings[k]!r:.60}" for k in differing
            )
            raise MismatchError(
                f"the workspace {self.directory} was begun with {'; '.join(parts)}: call again "
                "with what it was begun with, or give another folder"
            )

    def _clean(self) -> None:
        """Remove files that were half written when a run was killed."""
        for folder in (self.directory, decompositions_in(self.directory)):
            if folder.is_dir():
                remove_leftovers(folder)

    @property
    def shards(self) -> list[Path]:
        """The files of finished moments, in order."""
        return sorted(self.directory.glob("moments-*.safetensors"))

    def next_shard(self) -> Path:
        """The file for the moments of the next part of the layers."""
        names = (self.directory / f"moments-{index:03d}.safetensors" for index in count())
        return next(path for path in names if not path.exists())


@final
class StoredSums(Mapping[str, Tensor]):
    """Sums that stay on disk. A tensor is read each time it is asked for, and is not kept.

    Args:
        part: beginning of the tensors' names in the files.
        files: the file that holds the tensor, by key.
        headers: of the files, read once.
    """

    def __init__(
        self, part: str, files: Mapping[str, Path], headers: Mapping[Path, Header]
    ) -> None:
        self.part, self.files, self.headers = part, dict(files), dict(headers)

    def __getitem__(self, key: str) -> Tensor:
        return self._read(key, f"{self.part}/{key}")

    def diagonal(self, key: str) -> Tensor:
        """The diagonals of one stack of matrices; the rest is not read."""
        return self._read(key, f"diagonal/{self.part}/{key}")

    def _read(self, key: str, name: str) -> Tensor:
        path = self.files[key]
        with told_to_delete(), opened_tensors(path, self.headers[path]) as file:
            return file.read_finite(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)


def some_of(sums: Mapping[str, Tensor], keys: Iterable[str]) -> Mapping[str, Tensor]:
    """A few of the sums; those that are stored stay where they are."""
    wanted = dict.fromkeys(keys)
    if not isinstance(sums, StoredSums):
        return {key: sums[key] for key in wanted}
    files = {key: sums.files[key] for key in wanted}
    return StoredSums(sums.part, files, {path: sums.headers[path] for path in files.values()})


def decompositions_in(directory: Path) -> Path:
    """The folder of the decompositions under the moments of a workspace."""
    return directory / "decompositions"


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)
