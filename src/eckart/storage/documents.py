"""JSON documents that are checked on reading: one entry is a digest of all the others.

People can still read and change such a text. Some documents do not require the digest; if you
change one of them on purpose, delete that entry.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from eckart.errors import MALFORMED, CheckpointError
from eckart.storage.digests import digest_of_json

DIGEST = "digest"


def parsed(text: str | bytes) -> Any:
    """Parse standard JSON, without NaN and infinity.

    Raises:
        CheckpointError: the text is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_refused)
    except MALFORMED as error:
        raise CheckpointError(f"it is not JSON: {error!s:.200}") from error


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content with an added digest of all of it."""
    return {**content, DIGEST: digest_of_json(content)}


def unsealed(data: Any, *, required: bool) -> Any:
    """Check the digest of some data, and return them without it.

    Args:
        data: plain data.
        required: whether there must be a digest; if False, data without one are returned as given.

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
            f"it was changed or damaged after it was written: its content does not match its "
            f"digest{allowed}"
        )
    return content


def _refused(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")
