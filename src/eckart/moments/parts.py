"""Read files of moments into the fields of ``Moments``: all at once, or in parts left on disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eckart.errors import MALFORMED, CheckpointError
from eckart.moments.file_format import PARTS, described_in, unpacked
from eckart.moments.sharing import in_all
from eckart.storage.header import Header
from eckart.storage.tensors import TensorFile, opened_tensors
from eckart.storage.workspace import StoredSums, Workspace

Fields = dict[str, Any]  # of ``Moments``, by name


def whole_fields(path: str | Path) -> Fields:
    """Everything that one file holds, in memory.

    Raises:
        CheckpointError: the file is missing, damaged, or of another format.
    """
    with _opened(path) as (file, fields):
        for part, field in PARTS.items():
            keys = _keys(file.header, part)
            fields[field] = {key: file.read_finite(f"{part}/{key}") for key in keys}
    return fields


def stored_fields(path: Path) -> Fields:
    """The fields in one file. The sums stay there; each is read and checked when it is asked for.

    Raises:
        CheckpointError: the file is missing, damaged, or of another format.
    """
    with _opened(path) as (file, fields):
        header = file.header
    for part, field in PARTS.items():
        keys = _keys(header, part)
        fields[field] = StoredSums(part, dict.fromkeys(keys, path), {path: header})
    return fields


def finished_layers(workspace: Workspace) -> set[str]:
    """The layers whose moments are in a workspace, or that turned out to have none."""
    return _finished([stored_fields(path) for path in workspace.shards], workspace)


def joined_fields(workspace: Workspace) -> Fields:
    """All moments in a workspace, as if they had been gathered at once.

    Raises:
        CheckpointError: some are missing, or damaged.

    Cost: the header of each file is read once.
    """
    parts = [stored_fields(path) for path in workspace.shards]
    wanted, finished = workspace.settings["layers"], _finished(parts, workspace)
    missing = [name for name in wanted if name not in finished]
    if missing or not parts:
        raise CheckpointError(
            f"the moments of {len(missing)} of {len(wanted)} layers are not yet in "
            f"{workspace.directory}: calibrate with it as workspace to go on"
        )
    specs = {name: spec for part in parts for name, spec in part["specs"].items()}
    surplus = sorted(specs.keys() - set(wanted))
    if surplus:
        raise CheckpointError(
            f"{workspace.directory} holds moments of {', '.join(surplus):.200}, which it is not "
            "of: calibrate again, in another folder"
        )
    return {
        **next((part for part in parts if part["specs"]), parts[0]),
        "specs": {name: specs[name] for name in wanted if name in specs},
        "rows": {key: rows for part in parts for key, rows in part["rows"].items()},
        "calls": {name: found for part in parts for name, found in part["calls"].items()},
        "scatters": {name: found for part in parts for name, found in part["scatters"].items()},
        "skipped": {name: why for part in parts for name, why in part["skipped"].items()},
        "unreached": in_all([part["unreached"] for part in parts]),
        **{field: _joined([part[field] for part in parts]) for field in PARTS.values()},
    }


def _finished(parts: list[Fields], workspace: Workspace) -> set[str]:
    seen = {name for part in parts for name in (*part["specs"], *part["skipped"])}
    return seen & set(workspace.settings["layers"])


def _joined(sums: list[StoredSums]) -> StoredSums:
    files = {key: path for part in sums for key, path in part.files.items()}
    headers = {path: header for part in sums for path, header in part.headers.items()}
    return StoredSums(sums[0].part, files, headers)


def _keys(header: Header, part: str) -> list[str]:
    """The layers or inputs for which a file has one kind of sums."""
    return [name.partition("/")[2] for name in header.entries if name.startswith(f"{part}/")]


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[TensorFile, Fields]]:
    """An open file of moments, and its fields except the sums."""
    with opened_tensors(path) as file:
        try:
            fields = described_in(file.header)
            names = [f"example/{key}" for key in _keys(file.header, "example")]
            leaves = {name: file.read(name) for name in names}
            for name in ("example", "sample"):
                fields[name] = unpacked(fields[name], leaves)
            if not isinstance(fields["sample"], tuple):
                raise TypeError("the sample is not a tuple of batches")
        except (CheckpointError, *MALFORMED) as error:
            raise CheckpointError(f"cannot read moments from {path}: {error}") from error
        yield file, fields
