"""Ctrl-C and a kill, as the operating system sends them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stages.heal.signalled import healed_in


def sent(what: signal.Signals, folder: Path, reads: int) -> list[str]:
    """Start a run, send it a signal after so many batches, and return what it still says."""
    command = [sys.executable, "-m", "stages.heal.signalled", str(folder), str(reads)]
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=paths) as child:
        for line in child.stdout:
            if line.strip() == str(reads):
                child.send_signal(what)
                break
        rest = child.stdout.read().splitlines()
    assert child.returncode == (0 if what is signal.SIGINT else -what)
    return rest


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_a_run_that_was_interrupted_and_then_killed_ends_as_if_it_had_not_been(tmp_path):
    folder = tmp_path / "run"
    whole = healed_in(tmp_path / "whole")
    assert sent(signal.SIGINT, folder, 40)[-1] == "interrupted"
    best = load_file(folder / "healed")
    assert any(not torch.equal(best[k], t) for k, t in whole.model.state_dict().items())
    sent(signal.SIGKILL, folder, 30)
    resumed = healed_in(folder)
    assert any(step.note.startswith("goes on from step") for step in resumed.log)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], tensor), name
