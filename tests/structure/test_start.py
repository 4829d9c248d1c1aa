"""What starting costs: torch comes when there is something to compute, and little beside it."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import eckart
from sources import SOURCES

MOST = 1.15  # times the CPU seconds of `import torch`
NOISE = 0.1  # of that, by which the least of a few runs still varies
HEAVY = {"torch_pruning", "torchvision", "timm", "transformers", "datasets", "scipy", "rich"}
START = """
import os, sys
for line in ("import torch", "from eckart import *"):
    before = sum(os.times()[:2])
    exec(line)
    print(sum(os.times()[:2]) - before)
print(*sys.modules)
"""


def python(*words: str) -> subprocess.CompletedProcess[str]:
    """Run as on a user's machine, where modules are compiled once, with one thread."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run(
        [sys.executable, *words],
        env={**kept, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_importing_every_public_name_costs_little_more_than_torch():
    runs, torch, ours = list[list[str]](), 1.0, 1.0
    while torch + ours > MOST * torch and len(runs) < 8:  # a busy machine takes some tries
        runs.append(python("-c", START).stdout.splitlines())
        torch, ours = (min(float(run[part]) for run in runs) for part in (0, 1))
    assert torch + ours <= (MOST + NOISE) * torch
    assert HEAVY.isdisjoint(runs[0][2].split())


def test_the_table_of_public_names_is_what_type_checkers_read():
    (source,) = (source for source in SOURCES if source.name == "eckart")
    (block,) = (node for node in source.tree.body if isinstance(node, ast.If))
    read = {alias.name: node.module for node in block.body for alias in node.names}
    assert read == eckart._HOMES
    assert sorted(read) == eckart.__all__


def test_modules_are_attributes_and_unknown_names_are_refused():
    assert eckart.linalg.__name__ == "eckart.linalg"
    assert set(eckart.__all__) <= set(dir(eckart))
    with pytest.raises(AttributeError, match="module 'eckart' has no attribute 'novelty'"):
        eckart.novelty  # noqa: B018


REFUSED = {
    "no command": (2, ["frobnicate"]),
    "fraction": (2, ["compress", "{net}", "--data", "{data}", "--keep", "1.5"]),
    "budget": (2, ["compress", "{net}", "--data", "{data}", "--budget", "params"]),
    "cost": (2, ["frontier", "{net}", "--data", "{data}", "--cost", "joy"]),
    "method": (2, ["compress", "{net}", "--data", "{data}", "--keep", "0.5", "--methods", "x"]),
    "metric": (2, ["calibrate", "{net}", "--data", "{data}", "--out", "m", "--metric", "x"]),
    "treatment": (2, ["compress", "{net}", "--data", "{data}", "--keep", "0.5", "--heal", "x"]),
    "damping": (2, ["compress", "{net}", "--data", "{data}", "--keep", "0.5", "--damping", "0"]),
    "no data": (2, ["compress", "{net}", "--keep", "0.5"]),
    "threads": (2, ["compress", "{net}", "--keep", "0.5", "--threads", "2"]),
    "data": (1, ["evaluate", "{net}", "--data", "{dir}/none"]),
    "split": (1, ["evaluate", "{net}", "--data", "{data}", "--eval-split", "dev"]),
    "std": (1, ["evaluate", "{net}", "--data", "{data}", "--std", "0"]),
    "model": (1, ["inspect", "{dir}/none.py:net"]),
    "folder": (1, ["inspect", "hf:{dir}/none/"]),
    "weights": (1, ["inspect", "{net}", "--weights", "{dir}/none.safetensors"]),
    "shape": (2, ["inspect", "{net}", "--input-size", "big"]),
    "moments": (1, ["compress", "{net}", "--keep", "0.5", "--moments", "{dir}/none"]),
    "compressed": (1, ["evaluate", "{net}", "--data", "{data}", "--compressed", "{dir}"]),
}
WITHOUT_TORCH = """
import sys
from eckart.cli import app
for words, code in {cases}:
    try:
        app(words)
    except SystemExit as left:
        if (left.code or 0) != code or "torch" in sys.modules:
            sys.exit(f"{{words}}: {{left.code}}, torch: {{'torch' in sys.modules}}")
"""


def test_help_and_refused_arguments_do_without_torch(tmp_path: Path):
    (tmp_path / "net.py").write_text("def net(): ...")
    for split in ("train", "test"):
        (tmp_path / "data" / split / "one").mkdir(parents=True)
        (tmp_path / "data" / split / "one" / "0.png").touch()
    named = {"net": tmp_path / "net.py:net", "data": tmp_path / "data", "dir": tmp_path}
    commands = ("inspect", "calibrate", "frontier", "compress", "evaluate", "demo")
    cases = [(["--help"], 0), (["--version"], 0), *(([name, "-h"], 0) for name in commands)]
    cases += [([w.format(**named) for w in words], code) for code, words in REFUSED.values()]
    done = python("-c", WITHOUT_TORCH.format(cases=cases))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("eckart: ") == len(REFUSED), done.stderr
