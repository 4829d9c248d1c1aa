"""How every command starts and ends: streams, warnings, errors, exit codes."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from contextvars import ContextVar
from typing import Any

from typer.core import TyperGroup

from eckart.cli.shown.output import Result, say
from eckart.errors import CalibrationInterrupted, EckartError, FrontierInterrupted, InputError

_words: ContextVar[tuple[str, ...]] = ContextVar("words", default=())
OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
NOBODY_READS = 141  # what a shell shows for a program that SIGPIPE ended


class Interrupted(Exception):
    """A command was interrupted; the message says what was kept and how to go on."""


def stopped(error: CalibrationInterrupted | FrontierInterrupted, message: str) -> Exception:
    """What to raise for work that stopped: it was interrupted, or something failed."""
    if isinstance(error.__cause__, KeyboardInterrupt):
        return Interrupted(message)
    return InputError(f"{error.__cause__}; {message}")


class CommandGroup(TyperGroup):
    """Runs a command, prints the ``Result`` it returns and ends with an exit code.

    0: done; 1: failed, with one line on stderr; 2: the command line makes no sense; 130:
    interrupted; 141: the work is done, and whoever read stdout stopped reading, as ``head`` does.
    A stdout that is closed from the start is not a failure. With ``--json``, stdout is the
    document's alone, and empty after an error: what a network or a library prints there goes to
    stderr.
    """

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        """Run; never returns."""
        words = list(sys.argv[1:] if args is None else args) or ["--help"]
        extra["standalone_mode"] = False
        _words.set(tuple(words))
        sys.exit(run(lambda: super(CommandGroup, self).main(words, *rest, **extra), words))

    def invoke(self, ctx: Any) -> Any:
        """Run the command; typer would end an interrupted one without a word."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted from error


def typed_words() -> tuple[str, ...]:
    """The words after ``eckart``, as they were typed."""
    return _words.get()


def command_line() -> str:
    """The command as it was typed, to be shown beside what it made."""
    return shlex.join(["eckart", *typed_words()])


def run(work: Callable[[], Any], words: Sequence[str]) -> int:
    """Do the work of a command line and print what it returns.

    Args:
        work: returns a ``Result``, or an exit code where there is nothing to print.
        words: the command line.

    Returns:
        The exit code.
    """
    _prepare_streams()
    stdout, as_json = sys.stdout, "--json" in words
    try:
        with _warnings_as_lines(), _to_stderr() if as_json else nullcontext():
            result = work()
        if isinstance(result, Result):
            result.print_to(stdout, as_json=as_json)
            if result.failure is not None:
                raise result.failure
        stdout.flush()
        return result if isinstance(result, int) else OK
    except BrokenPipeError:  # nobody reads on, as in `eckart … | head`
        _lead_nowhere(stdout.fileno())
        return NOBODY_READS
    except Exception as error:
        if "--debug" in words:
            traceback.print_exc()
        code, message = _verdict(error)
        say(f"eckart: {message}")
        return code


def _prepare_streams() -> None:
    """Let no stream fail once the work is done.

    What an encoding lacks is replaced. A stream that was closed, as by ``>&-``, leads to nowhere;
    otherwise the next file that is opened would take its number, and be written to.
    """
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            _lead_nowhere(descriptor)
            setattr(sys, name, open(descriptor, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _lead_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def _verdict(error: Exception) -> tuple[int, str]:
    """Exit code and one line for what went wrong."""
    if isinstance(error, Interrupted):
        return INTERRUPTED, f"interrupted{_line(error, ': ')}"
    if isinstance(error, EckartError):
        return FAILED, f"error:{_line(error, ' ')}"
    if hasattr(error, "format_message"):  # typer's usage errors; their class is not public
        return (
            USAGE,
            f"usage: {' '.join(error.format_message().split())} (--help shows all options)",
        )
    return FAILED, f"error: {type(error).__name__}{_line(error, ': ')} (--debug shows where)"


def _line(error: Exception, before: str) -> str:
    text = " ".join(str(error).split())
    return before + text if text else ""


@contextmanager
def _to_stderr() -> Iterator[None]:
    """Send to stderr what is printed, also by compiled code such as the integer solver."""
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Print warnings as one line each, without the source line they come from."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        say(f"eckart: warning: {' '.join(str(message).split())}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
