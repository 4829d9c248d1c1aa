"""JSON that is read back: one digest over all of it, and nothing taken on trust.

A sealed document has one entry more than its content, ``sha256``. It is still a text that people
read and change: whoever changes one on purpose deletes that entry.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from eckart.errors import MALFORMED, CheckpointError
from eckart.storage.writing import shown, write_json

MAX_BYTES = 256 * 1024 * 1024  # of a document; a hostile file may be vast
SEAL = "sha256"


def write_document(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write plain data as sealed JSON, whole or not at all.

    Raises:
        WriteError: see ``storage.writing``.
    """
    write_json(path, sealed(content))


def read_document(path: str | Path) -> Any:
    """What ``write_document`` wrote, without its seal.

    Raises:
        CheckpointError: the file is missing, vast, not JSON, or not what was written.
    """
    try:
        if Path(path).stat().st_size > MAX_BYTES:
            raise CheckpointError(f"{shown(path)} is too large for what it should hold")
        return unsealed(parsed(Path(path).read_bytes()))
    except (OSError, CheckpointError) as error:
        raise CheckpointError(f"cannot read {shown(path)}: {error}") from error


def parsed(text: str | bytes) -> Any:
    """JSON as the standard has it: no NaN, no numbers out of range.

    Raises:
        CheckpointError: it is not that, or nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_refused)
    except MALFORMED as error:
        raise CheckpointError(f"it is not JSON: {error!s:.200}") from error


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The same with a digest of all of it."""
    return {**content, SEAL: digest_of(content)}


def unsealed(data: Any) -> Any:
    """The same without the digest, which must be right where there is one.

    Raises:
        CheckpointError: the content is not what was written.
    """
    if not isinstance(data, dict) or SEAL not in data:
        return data
    content = {key: value for key, value in data.items() if key != SEAL}
    if data[SEAL] != digest_of(content):
        raise CheckpointError(
            f"its content is not what was written: make it again; or, if you changed it on "
            f"purpose, delete its entry {SEAL!r}"
        )
    return content


def digest_of(content: Any) -> str:
    """SHA-256 of plain data, whatever the order of its keys and the spaces between.

    Raises:
        CheckpointError: it holds what JSON has no place for, such as NaN.
    """
    try:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except MALFORMED as error:
        raise CheckpointError(f"it is not plain data: {error!s:.200}") from error
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _refused(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number that JSON has")
