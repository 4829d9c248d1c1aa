"""Damage to files: to their bytes, and to the structure that the bytes stand for."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

_DEEP = "@deep@"
_LEVELS = (60, 980, 100_000)
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 0.5, -0.0, 1e308, 2**31, 2**63, 10**18, 10**30, 10**400,
    float("nan"), float("inf"), "", "x", "1", "x" * 100_000, "\ud800", "\0", "..", [], {}, [[]],
    [None], {"": 0}, [0] * 10_000, _DEEP,
)  # fmt: skip


def damaged(data: bytes, chance: Random) -> bytes:
    """The bytes with one kind of damage; they may come out as they were."""
    return chance.choice(_DAMAGES)(bytearray(data), chance)


def _flipped(data: bytearray, chance: Random) -> bytes:
    for _ in range(chance.choice((1, 1, 1, 8))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def _cut(data: bytearray, chance: Random) -> bytes:
    return bytes(data[: chance.randrange(len(data))])


def _inserted(data: bytearray, chance: Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    data[at:at] = chance.randbytes(chance.choice((1, 8, 300)))
    return bytes(data)


def _deleted(data: bytearray, chance: Random) -> bytes:
    at = chance.randrange(len(data))
    del data[at : at + chance.choice((1, 8, 300))]
    return bytes(data)


def _zeroed(data: bytearray, chance: Random) -> bytes:
    at, size = chance.randrange(len(data)), chance.choice((1, 8, 512))
    data[at : at + size] = bytes(len(data[at : at + size]))
    return bytes(data)


def _swapped(data: bytearray, chance: Random) -> bytes:
    size = min(chance.choice((4, 64, 512)), len(data) // 2)
    one, other = chance.randrange(len(data) - size + 1), chance.randrange(len(data) - size + 1)
    data[one : one + size], data[other : other + size] = (
        data[other : other + size],
        data[one : one + size],
    )
    return bytes(data)


_DAMAGES: tuple[Callable[[bytearray, Random], bytes], ...] = (
    _flipped, _flipped, _cut, _inserted, _deleted, _zeroed, _swapped,
)  # fmt: skip


def rewritten(value: Any, chance: Random) -> Any:
    """Plain data with one thing changed: a value, a key, an item; data of their own."""
    root = [json.loads(json.dumps(value))]
    places = list(_places(root))
    for _ in range(chance.choice((1, 1, 1, 3))):
        holder, key = chance.choice(places)
        if key in holder if isinstance(holder, dict) else key < len(holder):
            chance.choice(_CHANGES)(holder, key, chance)
    return root[0] if root else None


def _places(holder: Any) -> Any:
    """Every container below a value, with each of its keys."""
    stack = [holder]
    while stack:
        found = stack.pop()
        for key in list(found) if isinstance(found, dict) else range(len(found)):
            yield found, key
            if isinstance(found[key], dict | list):
                stack.append(found[key])


def _replaced(holder: Any, key: Any, chance: Random) -> None:
    holder[key] = chance.choice(VALUES)


def _nudged(holder: Any, key: Any, chance: Random) -> None:
    value = holder[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        _replaced(holder, key, chance)
    else:
        holder[key] = chance.choice((-value, value + 1, value - 1, value * 3 // 2, value * 10**9))


def _removed(holder: Any, key: Any, chance: Random) -> None:
    del holder[key]


def _renamed(holder: Any, key: Any, chance: Random) -> None:
    if isinstance(holder, dict):
        holder[chance.choice((key + "_", key.upper(), "", "digest", *holder))] = holder.pop(key)
    else:
        holder.append(holder[key])


def _traded(holder: Any, key: Any, chance: Random) -> None:
    other = chance.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    holder[key], holder[other] = holder[other], holder[key]


_CHANGES: tuple[Callable[[Any, Any, Random], None], ...] = (
    _replaced, _replaced, _nudged, _removed, _renamed, _traded,
)  # fmt: skip


def as_text(value: Any, chance: Random) -> bytes:
    """JSON, with nesting that no encoder would write, and numbers that it would not."""
    text = json.dumps(value)
    if _DEEP in text:
        levels = chance.choice(_LEVELS)
        text = text.replace(json.dumps(_DEEP), "[" * levels + "]" * levels)
    return text.encode()
