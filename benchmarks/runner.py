"""The command line of all measurements."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, get_args, get_origin

from benchmarks.measuring.measurement import Entry, Measurement, catalogue

SHARED = ("data", "output", "seed")
TABLES = "tables"


def main(given: Sequence[str] | None = None) -> None:
    """Run the command line."""
    words = list(sys.argv[1:] if given is None else given)
    entries = catalogue()
    parser = argparse.ArgumentParser("python -m benchmarks", description="Run one measurement")
    parser.add_argument("--list", action="store_true", help="say what there is, the default")
    names = [*entries, TABLES]
    parser.add_argument("name", nargs="?", choices=names, metavar="NAME", help="what to run")
    name = parser.parse_args(words[:1]).name
    if name is None:
        print(listing(entries.values()))
    elif name == TABLES:
        make_pages()
    else:
        run(entries[name], words[1:])


def listing(entries: Iterable[Entry]) -> str:
    """One entry per measurement, and one for the documents."""
    lines = [(entry.name, entry.what, str(entry.output)) for entry in entries]
    lines.append((TABLES, "Put the committed results into the documents.", "README.md, docs/"))
    wide = max(len(name) for name, *_ in lines)
    return "\n".join(f"{name:{wide}}  {what}\n{'':{wide}}  → {path}" for name, what, path in lines)


def make_pages() -> None:
    """Write the pages. The import is here because only the tables need matplotlib."""
    from benchmarks.tables.pages import write_pages

    write_pages()


def run(entry: Entry, words: Sequence[str]) -> None:
    """Run one measurement with its own options and the shared ones."""
    import torch

    measurement = entry.load()
    arguments = vars(options(entry, measurement).parse_args(words))
    torch.set_num_threads(arguments.pop("threads"))
    torch.manual_seed(arguments["seed"])
    arguments["output"].parent.mkdir(parents=True, exist_ok=True)
    named = signature(measurement.measure).parameters
    measurement.measure(**{name: value for name, value in arguments.items() if name in named})
    print(f"results: {arguments['output']}")


def options(entry: Entry, measurement: Measurement) -> argparse.ArgumentParser:
    """The shared arguments, then one per keyword with a default of the function."""
    parser = argparse.ArgumentParser(
        f"python -m benchmarks {entry.name}",
        description=entry.what,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", type=Path, help="data folder, else ECKART_DATA")
    parser.add_argument("--output", type=Path, default=entry.output, help="results, as JSON")
    parser.add_argument("--seed", type=int, default=0, help="of torch")
    parser.add_argument("--threads", type=int, default=measurement.threads, help="of torch")
    for parameter in signature(measurement.measure).parameters.values():
        if parameter.name not in SHARED:
            add_option(parser, parameter, measurement)
    return parser


def add_option(
    parser: argparse.ArgumentParser, parameter: Parameter, measurement: Measurement
) -> None:
    """Add an option with the annotated type; a sequence takes several values, a bool none."""
    name, kind = f"--{parameter.name.replace('_', '-')}", parameter.annotation
    settings: dict[str, Any] = {"default": parameter.default, "help": " "}  # shows the default
    if kind is bool:
        parser.add_argument(name, action=argparse.BooleanOptionalAction, **settings)
        return
    if get_origin(kind) is Sequence:
        (kind,) = get_args(kind)
        settings["nargs"] = "+"
    choices = measurement.choices.get(parameter.name)
    metavar = parameter.name.upper() if choices is None else None
    parser.add_argument(name, type=kind, choices=choices, metavar=metavar, **settings)
