"""The modules of src/eckart, parsed but not imported, for the structural tests."""

import ast
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "eckart"


@dataclass(frozen=True)
class Source:
    name: str  # dotted: eckart.stages.calibrate
    path: Path
    tree: ast.Module = field(repr=False)

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    def __str__(self) -> str:
        return self.path.relative_to(ROOT).as_posix()


def _read(path: Path) -> Source:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Source(name, path, ast.parse(path.read_text(encoding="utf-8"), str(path)))


SOURCES = [_read(path) for path in sorted(PACKAGE.rglob("*.py"))]
NAMES = frozenset(source.name for source in SOURCES)


def imports(source: Source) -> list[tuple[int, str]]:
    """Line and dotted target of every import, wherever it stands, relative ones resolved.

    `from package import name` targets `package.name` where that is a module of ours, and
    `package` where it is not.
    """
    found = []
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = import_origin(source, node)
            for alias in node.names:
                full = f"{origin}.{alias.name}"
                found.append((node.lineno, full if full in NAMES else origin))
    return found


def import_origin(source: Source, node: ast.ImportFrom) -> str:
    """The absolute name of the module that a `from … import` reads."""
    if not node.level:
        return node.module or ""
    up = node.level - source.is_package
    parent = source.name.split(".")[: -up or None]
    return ".".join([*parent, *([node.module] if node.module else [])])
