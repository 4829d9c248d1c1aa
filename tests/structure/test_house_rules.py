"""House rules that a machine can read off the source."""

import ast
import importlib
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

import pytest

from sources import NAMES, PACKAGE, SOURCES, Source, import_origin, imports

MOST_LINES = 300
MEDIAN_LINES = 120
MOST_LOOSE = 8  # modules beside the rooms
MOST_PUBLIC = 40
VAGUE = {"base", "common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
PICKLING_MODULES = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
PICKLING_CALLS = {"torch.load", "torch.save"}


def broken(rule: Callable[[Source], object], sources: Iterable[Source] = SOURCES) -> dict[str, Any]:
    """The files that a rule finds something in, with what it finds."""
    found = {str(source): rule(source) for source in sources}
    return {name: what for name, what in found.items() if what}


def lines_of(source: Source) -> int:
    return len(source.path.read_text(encoding="utf-8").splitlines())


def test_files_are_short():
    """More lines are two ideas."""
    assert broken(lambda source: max(0, lines_of(source) - MOST_LINES)) == {}


def test_the_median_file_is_short():
    assert median(map(lines_of, SOURCES)) <= MEDIAN_LINES


def test_names_say_something():
    assert broken(lambda source: VAGUE & {part.strip("_") for part in source.name.split(".")}) == {}


def test_files_raise_instead_of_asserting():
    """Raise an error of eckart.errors instead of these lines."""
    assert broken(asserts) == {}


def asserts(source: Source) -> list[int]:
    return [node.lineno for node in ast.walk(source.tree) if isinstance(node, ast.Assert)]


def test_nothing_pickles():
    assert broken(pickling) == {}


def pickling(source: Source) -> list[str]:
    """The lines of a file that pickle, or that import what pickles."""
    found = [
        f"line {line}: {target}"
        for line, target in imports(source)
        if target.split(".")[0] in PICKLING_MODULES
    ]
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in PICKLING_CALLS:
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
        elif isinstance(node, ast.ImportFrom):
            named = {f"{node.module}.{alias.name}" for alias in node.names} & PICKLING_CALLS
            found += [f"line {node.lineno}: {name}" for name in sorted(named)]
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            found.append(f"line {node.value.lineno}: allow_pickle")
    return found


def test_no_name_hides_a_module():
    assert broken(hidden, [source for source in SOURCES if source.is_package]) == {}


def hidden(source: Source) -> set[str]:
    """Names that a package binds and that are those of modules in it."""
    modules = {name.rpartition(".")[2] for name in NAMES if name.rpartition(".")[0] == source.name}
    return {name for name in public_names(source) if name in modules}


def public_names(source: Source) -> set[str]:
    """What a package's `__init__` binds and is not private, its own submodules left out."""
    names = set()
    for node in source.tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            origin = import_origin(source, node)
            names |= {
                alias.asname or alias.name
                for alias in node.names
                if f"{origin}.{alias.name}" not in NAMES
            }
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return {name for name in names if not name.startswith("_")}


def exported() -> list[str]:
    """`eckart.__all__` as it is written."""
    for source in SOURCES:
        if source.name == "eckart":
            for node in source.tree.body:
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                    return list(ast.literal_eval(node.value))
    return []


def test_public_names_are_few_sorted_and_unique():
    assert exported(), "eckart/__init__.py needs a literal __all__"
    assert exported() == sorted(set(exported()))
    assert len(exported()) <= MOST_PUBLIC, "what is rarely used is imported from its submodule"


def test_few_modules_lie_beside_the_rooms():
    loose = [source.name for source in SOURCES if source.path.parent == PACKAGE]
    assert len(loose) <= MOST_LOOSE, f"{loose}: give one of them a room"


@pytest.mark.parametrize("name", exported())
def test_public_name_exists_and_is_documented(name: str):
    thing = getattr(importlib.import_module("eckart"), name)
    doc = thing.__doc__ or ""
    assert doc.strip(), f"eckart.{name} has no docstring"
    assert not doc.startswith(f"{name}("), f"eckart.{name} has only the docstring dataclasses makes"
