"""Ray, connected: to the cluster that is there, or to one that is started on this machine."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

from eckart.errors import InputError

_ANSWER_S = 5.0  # for a cluster to take a connection; Ray itself waits for a minute
_PORT = 6379  # Ray's own


def connected() -> Any:
    """The module ``ray``. A connection that is there already is used as it is.

    Else it connects to the address in ``RAY_ADDRESS``, or to a cluster on this machine, or starts
    one on this machine. The connection stays until ``ray.shutdown()`` or the end of the program.

    Raises:
        InputError: Ray is not installed, or no cluster answers at the address.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError("workers='ray' needs Ray: pip install 'eckart[ray]'") from error
    if ray.is_initialized():
        return ray
    address = os.environ.get("RAY_ADDRESS", "")
    _check_answers(address)
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        raise _unreachable(address or "this machine", error) from error
    return ray


def _check_answers(address: str) -> None:
    """Check that somebody listens at an address; names such as "auto" are left to Ray."""
    host, found, port = address.rpartition("//")[2].rpartition(":")
    if not found:
        return
    try:
        at = (host.strip("[]"), int(port or _PORT))
        socket.create_connection(at, timeout=_ANSWER_S).close()
    except (OSError, OverflowError, ValueError) as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> InputError:
    return InputError(
        f"no Ray cluster answers at {address} ({error!s:.200}): start one with `ray start --head`, "
        "set RAY_ADDRESS to its host:port, or unset it to use this machine alone"
    )
