"""What makes a file a measurement, and where all of them are found."""

import ast
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from benchmarks.measuring.results_file import results_path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Measurement:
    """What a file binds to the name `MEASUREMENT`, so that it can be run by its own name.

    Attributes:
        measure: called with `data`, `output` and `seed` if it has parameters of these names; its
            keywords with defaults are the options of the command line.
        choices: the allowed values of some of its options.
        threads: number of threads of torch, unless the command line says otherwise.
    """

    measure: Callable[..., object]
    choices: Mapping[str, Collection[str]] = field(default_factory=dict)
    threads: int = 1


@dataclass(frozen=True)
class Entry:
    """One line of `--list`; listing it imports nothing.

    Attributes:
        name: the name of the file, with dashes.
        module: the module to import.
        what: the first line of the file's docstring.
    """

    name: str
    module: str
    what: str

    @property
    def output(self) -> Path:
        """The path of the results, unless the command line says otherwise."""
        return results_path(self.name)

    def load(self) -> Measurement:
        """Import the file and return its measurement."""
        found = import_module(self.module).MEASUREMENT
        if not isinstance(found, Measurement):
            raise TypeError(f"{self.module}.MEASUREMENT is {found!r}: expected a Measurement")
        return found


def catalogue(root: Path = ROOT) -> dict[str, Entry]:
    """All measurements by name, in the order of their folders.

    Raises:
        ValueError: two files have the same name, so one would overwrite the other's results.
    """
    entries: dict[str, Entry] = {}
    for path in sorted(root.glob("*/*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if not any(_names_a_measurement(node) for node in tree.body):
            continue
        name = path.stem.replace("_", "-")
        module = f"{root.name}.{path.parent.name}.{path.stem}"
        if name in entries:
            raise ValueError(f"{module} and {entries[name].module}: two measurements {name!r}")
        entries[name] = Entry(name, module, (ast.get_docstring(tree) or "").partition("\n")[0])
    return entries


def _names_a_measurement(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MEASUREMENT"
