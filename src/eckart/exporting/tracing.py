"""What a failure to trace a network means to its user."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from eckart.errors import EckartError, InputError
from eckart.exporting.preparing import Ready


@contextmanager
def told_of_tracing(name: str, network: Ready) -> Iterator[None]:
    """Raise whatever torch raises as an ``InputError`` that says what to try, without warnings."""
    free = network.dynamic_shapes is not None
    advice = "try dynamic_batch=False, or " if free else ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter's own future
            yield
    except EckartError:
        raise
    except Exception as error:  # tracing may raise anything
        raise InputError(
            f"this network cannot be exported to {name!r} ({type(error).__name__}: "
            f"{_first_line(error):.300}); {advice}make it traceable by torch.export"
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "no message")
