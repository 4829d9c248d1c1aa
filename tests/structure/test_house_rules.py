"""House rules that a machine can read off the source."""

import ast
import importlib
from statistics import median

import pytest

from sources import NAMES, PACKAGE, SOURCES, Source, import_origin, imports

MOST_LINES = 300
MEDIAN_LINES = 120
MOST_LOOSE = 8  # modules beside the rooms
MOST_PUBLIC = 40
VAGUE = {"base", "common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
PICKLING_MODULES = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
PICKLING_CALLS = {"torch.load", "torch.save"}

each_source = pytest.mark.parametrize("source", SOURCES, ids=str)
each_package = pytest.mark.parametrize(
    "source", [source for source in SOURCES if source.is_package], ids=str
)


@each_source
def test_is_short(source: Source):
    lines = len(source.path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES, f"{lines} lines: more than {MOST_LINES} are two ideas"


@each_source
def test_has_a_name_that_says_something(source: Source):
    assert VAGUE.isdisjoint(part.strip("_") for part in source.name.split("."))


@each_source
def test_raises_instead_of_asserting(source: Source):
    lines = [node.lineno for node in ast.walk(source.tree) if isinstance(node, ast.Assert)]
    assert not lines, f"assert on lines {lines}: raise an error of eckart.errors"


@each_source
def test_never_pickles(source: Source):
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
    assert not found, "\n".join(found)


@each_package
def test_no_name_hides_a_module(source: Source):
    modules = {name.rpartition(".")[2] for name in NAMES if name.rpartition(".")[0] == source.name}
    hidden = {name for name in public_names(source) if name in modules}
    assert not hidden, f"{sorted(hidden)}: names of {source.name} and of modules in it"


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


def test_the_median_file_is_short():
    lines = [len(source.path.read_text(encoding="utf-8").splitlines()) for source in SOURCES]
    assert median(lines) <= MEDIAN_LINES


@pytest.mark.parametrize("name", exported())
def test_public_name_exists_and_is_documented(name: str):
    thing = getattr(importlib.import_module("eckart"), name)
    doc = thing.__doc__ or ""
    assert doc.strip(), f"eckart.{name} has no docstring"
    assert not doc.startswith(f"{name}("), f"eckart.{name} has only the docstring dataclasses makes"
