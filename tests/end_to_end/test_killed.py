"""A run that is killed at any moment goes on, and gives what it would have given."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("killed_llama.py")


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("killed")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(folder), "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def runs(killed: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((killed / "runs.json").read_text())
    return found


def test_the_result_is_that_of_a_run_that_was_not_killed(killed: Path):
    whole, resumed = (killed / way / "smaller" for way in ("whole", "killed"))
    names = sorted(path.name for path in whole.iterdir())
    assert "eckart.json" in names
    assert any(name.startswith("weights-") for name in names)
    assert names == sorted(path.name for path in resumed.iterdir() if path.is_file())
    for name in names:
        assert (whole / name).read_bytes() == (resumed / name).read_bytes(), name


def test_it_was_killed_on_the_way(runs: list[dict[str, Any]]):
    assert len(runs) >= 4
    assert any(0 < len(run["before"]) < len(runs[-1]["before"]) for run in runs)


def test_nothing_finished_was_begun_again(runs: list[dict[str, Any]]):
    for run in runs:
        assert not set(run["before"]) & set(run["begun"])
        assert not run["changed"]
    begun = {name for run in runs for name in run["begun"]}
    assert sum(name.startswith("moments") for name in begun) > 1
    assert sum(name.endswith("weighted_svd.safetensors") for name in begun) == 14
