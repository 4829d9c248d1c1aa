"""JSON that comes back as it was written: one digest over all of it, in an entry of its own.

It is still a text that people read and change. Where a digest is not required, whoever changes a
document on purpose deletes that entry.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from eckart.errors import MALFORMED, CheckpointError
from eckart.storage.digests import digest_of_json

DIGEST = "digest"


def parsed(text: str | bytes) -> Any:
    """JSON as the standard has it, without NaN and infinity.

    Raises:
        CheckpointError: it is not that, or nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_refused)
    except MALFORMED as error:
        raise CheckpointError(f"it is not JSON: {error!s:.200}") from error


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The same with a digest of all of it."""
    return {**content, DIGEST: digest_of_json(content)}


def unsealed(data: Any, *, required: bool) -> Any:
    """The same without the digest, which is checked.

    Args:
        data: plain data.
        required: False takes data without a digest as they are.

    Raises:
        CheckpointError: the content is not what was written.
    """
    if not isinstance(data, dict) or (DIGEST not in data and not required):
        return data
    content = {key: value for key, value in data.items() if key != DIGEST}
    try:
        whole = data.get(DIGEST) == digest_of_json(content)
    except MALFORMED:
        whole = False
    if not whole:
        allowed = "" if required else f"; if you changed it on purpose, delete its entry {DIGEST!r}"
        raise CheckpointError(
            f"it was changed or damaged after it was written: its content does not have its "
            f"digest{allowed}"
        )
    return content


def _refused(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number that JSON has")
