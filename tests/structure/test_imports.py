"""Imports go down only: a module reads lower layers and its own package, nothing else."""

import pytest

from sources import NAMES, SOURCES, Source, imports

LAYERS = {
    "errors": 0,
    "records": 0,
    "storage": 0,
    "linalg": 1,
    "running": 1,
    "text": 1,
    "costs": 2,
    "layers": 2,
    "metrics": 2,
    "moments": 3,
    "network": 3,
    "scores": 3,
    "exporting": 4,
    "methods": 4,
    "runtimes": 5,
    "tasks": 5,
    "checkpoint": 6,
    "factors": 6,
    "stages": 6,
    "search": 7,
    "pipeline": 8,
    "report": 8,
    "cli": 9,
}
SIDEWAYS = {  # the only neighbours that may be read
    ("records", "errors"),
    ("records", "storage"),
    ("storage", "errors"),
}
PUBLIC = 8  # `eckart` itself, seen from inside: the public names, read from above this layer only


def unit(module: str) -> str:
    """What may import freely within itself: a top-level module or package, or one stage."""
    parts = module.split(".")[1:]
    return ".".join(parts[:2] if parts[:1] == ["stages"] else parts[:1])


def layer(module: str) -> int:
    top = unit(module).split(".")[0]
    if not top:
        return PUBLIC
    if top not in LAYERS:
        raise AssertionError(
            f"'{module}' has no layer: give '{top}' one in LAYERS (tests/structure/test_imports.py)"
        )
    return LAYERS[top]


def allowed(importer: str, target: str) -> bool:
    reader, read = unit(importer), unit(target)
    if reader in ("", "__main__", read):
        return True
    if reader == "stages" and read.startswith("stages."):
        return True  # stages/__init__.py names the stages
    return layer(target) < layer(importer) or (reader, read) in SIDEWAYS


def needed_by(source: Source) -> set[str]:
    """The modules that importing one runs: its targets and the packages that they are in.

    A package that holds the module itself is left out, because its `__init__` names what is in it.
    """
    targets = {target for _, target in imports(source) if target in NAMES}
    parts = [target.split(".") for target in targets]
    packages = {".".join(part[:length]) for part in parts for length in range(1, len(part))}
    own = {name for name in NAMES if f"{source.name}.".startswith(f"{name}.")}
    return (targets | packages) - own


def circles(needs: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules each of which needs all others, by Tarjan's algorithm."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = lowest[name] = len(order)
        path.append(name)
        for target in sorted(needs.get(name, ())):
            if target not in order:
                visit(target)
            if target in path:
                lowest[name] = min(lowest[name], lowest[target])
        if lowest[name] == order[name]:
            at = path.index(name)
            found.append(sorted(path[at:]))
            del path[at:]

    for name in sorted(needs):
        if name not in order:
            visit(name)
    return [group for group in found if len(group) > 1]


def test_no_modules_import_each_other():
    """Anywhere, within packages too, and in functions as well as at the top."""
    found = circles({source.name: needed_by(source) for source in SOURCES})
    assert not found, "\n".join(" ↔ ".join(group) for group in found)


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"a"}}, [["a", "b"]]),
        ({"a": {"b", "d"}, "b": {"c"}, "c": {"a"}, "d": {"c"}}, [["a", "b", "c", "d"]]),
        ({"a": {"b"}, "b": {"a"}, "c": {"a", "d"}, "d": {"c"}}, [["a", "b"], ["c", "d"]]),
    ],
)
def test_circles_are_found(needs: dict[str, set[str]], expected: list[list[str]]):
    assert sorted(circles(needs)) == expected


def test_imports_go_down():
    for source in SOURCES:
        if unit(source.name) not in ("", "__main__"):
            layer(source.name)
    upward = [
        f"line {line}: {source.name} must not import {target}"
        for source in SOURCES
        for line, target in imports(source)
        if target.split(".")[0] == "eckart" and not allowed(source.name, target)
    ]
    assert not upward, "\n".join(upward)


@pytest.mark.parametrize(
    ("importer", "target", "expected"),
    [
        ("eckart", "eckart.cli", True),
        ("eckart.records", "eckart.errors", True),
        ("eckart.errors", "eckart.records", False),
        ("eckart.linalg.low_rank", "eckart.linalg.whitening", True),
        ("eckart.linalg.low_rank", "eckart.layers.linear", False),
        ("eckart.moments.record", "eckart.methods", False),
        ("eckart.costs", "eckart.layers", False),
        ("eckart.stages.calibrate", "eckart.moments", True),
        ("eckart.stages.calibrate", "eckart.stages.curves", False),
        ("eckart.stages.calibrate", "eckart.stages.heal.refit", False),
        ("eckart.stages.calibrate", "eckart.stages", False),
        ("eckart.stages.heal.refit", "eckart.stages.heal.judge", True),
        ("eckart.stages.heal", "eckart.stages.measure", False),
        ("eckart.stages", "eckart.stages.measure", True),
        ("eckart.pipeline", "eckart.stages.heal", True),
        ("eckart.checkpoint", "eckart.pipeline", False),
        ("eckart.pipeline", "eckart", False),
        ("eckart.cli.commands.compress", "eckart", True),
    ],
)
def test_the_rule_itself(importer: str, target: str, expected: bool):
    assert allowed(importer, target) is expected


def test_an_unknown_module_must_be_given_a_layer():
    with pytest.raises(AssertionError, match="give 'novelty' one in LAYERS"):
        layer("eckart.novelty.thing")
