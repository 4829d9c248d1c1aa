"""What methods prepared, passed on from the curves to the plans made from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, final


@final
class States(Mapping[str, Any]):
    """States by title, see ``eckart.methods.cache``. Read-only; equal only to itself.

    States save time and change no result: a state that is missing is prepared again, with the same
    numbers. So copies, pickles and JSON of a record that carries states leave them out.

    Args:
        found: by title.
    """

    def __init__(self, found: Mapping[str, Any] | None = None) -> None:
        self._found = dict(found or {})

    def __getitem__(self, title: str) -> Any:
        return self._found[title]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __reduce__(self) -> tuple[type[States], tuple[()]]:
        return States, ()

    def __repr__(self) -> str:
        return f"States({len(self)})"

    __eq__ = object.__eq__
    __hash__ = object.__hash__
