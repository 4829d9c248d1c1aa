"""The `check.py` beside trained networks: the classes, the data that are scored, and the score."""

import importlib.util
from pathlib import Path
from typing import Any


def check_in(folder: Path) -> Any:
    """The module `check.py` of a folder."""
    spec = importlib.util.spec_from_file_location(f"check_{folder.name}", folder / "check.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{folder} has no check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
