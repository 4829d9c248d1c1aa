"""Records from untrusted JSON: each field is checked against its annotation.

``read(Plan, data)`` gives a plan, or raises a ``CheckpointError`` that says where the data are
wrong::

    plan.choices['conv1'].form.pieces[1].inputs: expected a whole number of at least 1, got -3

All fields must be there, and no others. Only fields that are excluded from comparison may be
missing. A record may define two methods that take part in reading:

- ``unpacked(data)``, a class method, converts JSON of another shape to the shape of the fields;
- ``contradiction()`` says what is wrong with a record although each field has the right type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from math import isfinite
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from eckart.errors import CheckpointError, InputError
from eckart.records.excerpts import excerpt

T = TypeVar("T")


@dataclass(frozen=True)
class From:
    """The smallest and the largest value of a number, as in ``Annotated[int, From(1)]``."""

    least: int
    most: int = 2**63 - 1


Count = Annotated[int, From(0)]
"""A number of things: parameters, examples, units."""
Amount = Count | float
"""A cost: a whole number, or a time."""
Width = Annotated[int, From(1, 2**31 - 1)]
"""A width: features, channels, positions along an axis."""


class _Unfit(Exception):
    """What is wrong, and the path to it, from the innermost place outwards."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.places: list[str] = []


def read(kind: type[T], data: Any) -> T:
    """A record of a class from plain data.

    Raises:
        CheckpointError: the data do not describe such a record; the message says where.

    Cost: O(size of the data) time and memory.
    """
    try:
        record: T = _record(kind, data)
    except _Unfit as error:
        place = kind.__name__.lower() + "".join(reversed(error.places))
        raise CheckpointError(f"{place}: {error.problem}") from None
    return record


def _record(kind: Any, data: Any) -> Any:
    data = getattr(kind, "unpacked", _as_it_is)(data)
    names = {field.name: field.compare for field in fields(kind)}
    if not isinstance(data, dict):
        raise _expected(f"the fields {', '.join(names)}", data)
    _check_names(names, data)
    types, values = _types(kind), dict[str, Any]()
    for name, item in data.items():
        try:
            values[name] = _value(types[name], item)
        except _Unfit as error:
            error.places.append(f".{name}")
            raise
    try:
        record = kind(**values)
    except InputError as error:
        raise _Unfit(str(error)) from error
    problem = getattr(record, "contradiction", _nothing)()
    if problem is not None:
        raise _Unfit(problem)
    return record


def _check_names(names: Mapping[str, bool], data: Mapping[str, Any]) -> None:
    missing = [name for name, needed in names.items() if needed and name not in data]
    if missing:
        raise _Unfit(f"the fields {', '.join(missing)} are missing")
    for name in data:
        if name not in names:
            raise _Unfit(f"has no field {excerpt(name)}; its fields are {', '.join(names)}")


def _value(kind: Any, data: Any) -> Any:
    """Data read as one annotated type, among the types that records use."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in _SCALARS:
        return _SCALARS[kind](data)
    if origin is Annotated:
        return _within(arguments[1], _value(arguments[0], data))
    if origin is tuple:
        return _tuple(arguments, data)
    if origin is Mapping:
        return _mapping(arguments[1], data)
    if origin in (Union, UnionType):
        return _one_of(arguments, data)
    if origin is Literal:
        return _literal(arguments, data)
    if is_dataclass(kind):
        return _record(kind, data)
    raise _Unfit("it is not read from files")


def _integer(data: Any) -> int:
    if type(data) is int:
        return data
    raise _expected("a whole number", data)


def _number(data: Any) -> float:
    if type(data) is float and isfinite(data):
        return data
    if type(data) is int and abs(data) < 2**1000:
        return float(data)
    raise _expected("a finite number", data)


def _switch(data: Any) -> bool:
    if isinstance(data, bool):
        return data
    raise _expected("true or false", data)


def _string(data: Any) -> str:
    if not isinstance(data, str):
        raise _expected("a text", data)
    try:
        data.encode()
    except UnicodeEncodeError:
        raise _Unfit(f"expected text, got half a character in {excerpt(data)}") from None
    return data


def _null(data: Any) -> None:
    if data is not None:
        raise _expected("null", data)


_SCALARS: Mapping[Any, Callable[[Any], Any]] = {
    int: _integer,
    float: _number,
    bool: _switch,
    str: _string,
    NoneType: _null,
}


def _within(limits: From, value: int) -> int:
    if limits.least <= value <= limits.most:
        return value
    upper = "" if value < limits.least else f" and at most {limits.most}"
    raise _expected(f"a whole number of at least {limits.least}{upper}", value)


def _tuple(kinds: tuple[Any, ...], data: Any) -> tuple[Any, ...]:
    if not isinstance(data, list | tuple):
        raise _expected("a list", data)
    if kinds[-1] is ...:
        kinds = (kinds[0],) * len(data)
    if len(kinds) != len(data):
        raise _expected(f"a list of {len(kinds)}", data)
    found = []
    for index, (kind, item) in enumerate(zip(kinds, data, strict=True)):
        try:
            found.append(_value(kind, item))
        except _Unfit as error:
            error.places.append(f"[{index}]")
            raise
    return tuple(found)


def _mapping(kind: Any, data: Any) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise _expected("names with values", data)
    found = {}
    for key, item in data.items():
        try:
            found[_string(key)] = _value(kind, item)
        except _Unfit as error:
            error.places.append(f"[{excerpt(key)}]")
            raise
    return found


def _one_of(kinds: tuple[Any, ...], data: Any) -> Any:
    """Data read as one of several types; a whole number is read as int if that is allowed."""
    if data is None and NoneType in kinds:
        return None
    whole = [kind for kind in kinds if kind is int or get_args(kind)[:1] == (int,)]
    if type(data) is int and whole:
        return _value(whole[0], data)
    others = [kind for kind in kinds if kind is not NoneType and kind not in whole]
    return _value((others or kinds)[0], data)


def _literal(values: tuple[Any, ...], data: Any) -> Any:
    for value in values:
        if type(data) is type(value) and data == value:
            return value
    raise _expected(f"one of {', '.join(map(repr, values))}", data)


def _expected(what: str, got: Any) -> _Unfit:
    return _Unfit(f"expected {what}, got {excerpt(got)}")


@cache
def _types(kind: Any) -> dict[str, Any]:
    known = {"KW_ONLY": Any}  # it marks where keywords begin, and Python 3.10 wants a type there
    return get_type_hints(kind, localns=known, include_extras=True)


def _as_it_is(data: Any) -> Any:
    return data


def _nothing() -> None:
    return None
