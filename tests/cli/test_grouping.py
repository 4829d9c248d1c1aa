from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from eckart.cli.options.grouping import grouped


@dataclass(frozen=True)
class Where:
    folder: Annotated[str, typer.Argument()]
    deep: Annotated[bool, typer.Option("--deep")] = False


@dataclass(frozen=True)
class Which:
    count: Annotated[int, typer.Option()] = 3


@grouped
def find(where: Where, which: Which, *, name: Annotated[str, typer.Option()] = "*") -> None:
    """Find things."""
    typer.echo(repr((where, which, name)))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["src"], (Where("src"), Which(), "*")),
        (["src", "--deep", "--count", "5", "--name", "a"], (Where("src", True), Which(5), "a")),
    ],
)
def test_fields_are_options(words, expected):
    app = typer.Typer()
    app.command()(find)
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert result.output.strip() == repr(expected)


def test_keeps_name_and_help():
    assert (find.__name__, find.__doc__) == ("find", "Find things.")
