"""The command ``eckart``: strings become objects here and only here."""

from __future__ import annotations

from importlib.metadata import version as version_of
from typing import Annotated

import typer

from eckart.cli.commands.calibrate import calibrate_command
from eckart.cli.commands.compress import compress_command
from eckart.cli.commands.demo import demo_command
from eckart.cli.commands.evaluate import evaluate_command
from eckart.cli.commands.frontier import frontier_command
from eckart.cli.commands.inspect import inspect_command
from eckart.cli.entry import CommandGroup

__all__ = ["app", "main"]


def _show(wanted: bool) -> bool:
    if wanted:
        print(f"eckart {version_of('eckart')}")
        raise typer.Exit
    return wanted


app = typer.Typer(
    name="eckart",
    cls=CommandGroup,
    help="Make trained PyTorch networks smaller and faster: calibrate once, see the whole frontier "
    "of accuracy against cost, pick a point.",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def start(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show, is_eager=True)
    ] = False,
) -> None:
    """What holds for all commands; its text is the app's."""


app.command("inspect")(inspect_command)
app.command("calibrate")(calibrate_command)
app.command("frontier")(frontier_command)
app.command("compress")(compress_command)
app.command("evaluate")(evaluate_command)
app.command("demo")(demo_command)


def main() -> None:
    """Run the command line and exit with its code."""
    app()
