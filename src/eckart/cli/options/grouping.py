"""Commands whose options come in groups: a dataclass is one group, its fields are the options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Any, TypeVar, get_type_hints

R = TypeVar("R")


def grouped(command: Callable[..., R]) -> Callable[..., R]:
    """A function for typer that takes the fields of ``command``'s dataclass arguments one by one.

    Args:
        command: its arguments are annotated for typer, or are dataclasses whose fields are.

    Returns:
        A function of keywords alone; it builds the dataclasses and calls ``command``.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Where:
        ...     folder: str
        ...     deep: bool = False
        >>> @grouped
        ... def find(where: Where, name: str = "*") -> str:
        ...     return f"{where.folder}/{name}"
        >>> find(folder="src", deep=True, name="a.py")
        'src/a.py'
    """
    hints = get_type_hints(command, include_extras=True)
    parameters = [
        flat
        for parameter in signature(command).parameters.values()
        for flat in _flattened(parameter, hints[parameter.name])
    ]

    @wraps(command)
    def with_fields(**values: Any) -> R:
        return command(**{name: _taken(values, name, hints[name]) for name in names})

    names = [name for name in hints if name != "return"]
    with_fields.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    with_fields.__annotations__ = {p.name: p.annotation for p in parameters}
    return with_fields


def _flattened(parameter: Parameter, hint: Any) -> list[Parameter]:
    if not is_dataclass(hint):
        return [parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=hint)]
    hints = get_type_hints(hint, include_extras=True)
    return [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(hint)
    ]


def _taken(values: dict[str, Any], name: str, hint: Any) -> Any:
    """The value of one of the command's arguments."""
    if not is_dataclass(hint):
        return values[name]
    return hint(**{field.name: values[field.name] for field in fields(hint)})  # type: ignore[operator]
