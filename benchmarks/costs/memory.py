"""A 1.1 B-parameter language model within 12 GiB, killed during the run and started again.

The network has TinyLlama's shape and random weights in bfloat16, because memory and time do not
depend on the weights. The chain runs in a child process, which is killed by SIGKILL while it
calibrates and while it decomposes. Its working folder needs about 20 GB.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.costs.memory_chain import KEEP, LENGTH, SEQUENCES, SHAPE
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Row, write_json

SCRATCH = Path(tempfile.gettempdir(), "eckart-memory")
KILLED_AT = (  # as soon as the workspace has a file of every pattern
    ("moments-000.safetensors", ".tmp*"),  # the second part of the moments is being written
    ("model.layers.10.mlp*",),  # half of the layers are decomposed
)


def made(folder: Path) -> None:
    """Write the network, unless it is there already."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    if (folder / "config.json").exists():
        return
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPE, dtype="bfloat16"))
    model.save_pretrained(folder)
    torch.set_default_dtype(torch.float32)


def finished(scratch: Path) -> dict[str, int]:
    """All finished files in the workspace, with the time at which each was written."""
    files = (scratch / "workspace").rglob("*.safetensors")
    return {str(path.relative_to(scratch)): path.stat().st_mtime_ns for path in files}


def killed_run(scratch: Path, kill_at: Sequence[str]) -> Row:
    """Run one child, and kill it once the workspace has a file of every pattern."""
    before, log = finished(scratch), scratch / "log.jsonl"
    command = [
        sys.executable,
        "-m",
        "benchmarks.costs.memory",
        "--child",
        "--scratch",
        str(scratch),
    ]
    killed = False
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output)
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            found = [any((scratch / "workspace").rglob(pattern)) for pattern in kill_at]
            if not killed and found and all(found):
                os.kill(process.pid, signal.SIGKILL)
                killed = True
            time.sleep(0.05)
    if not killed and ended[1] != 0:
        raise SystemExit(f"the run failed with status {ended[1]}")
    after = finished(scratch)
    return {
        "killed": killed,
        "peak_bytes": ended[2].ru_maxrss * 1024,
        "stages": [json.loads(line) for line in log.read_text().splitlines()],
        "finished_before": len(before),
        "finished_after": len(after),
        "made_again": sum(after.get(name) != written for name, written in before.items()),
    }


def sizes(scratch: Path) -> dict[str, int]:
    """Bytes on disk."""
    folders = ("network", "workspace", "workspace/decompositions", "smaller")
    return {
        name: sum(p.stat().st_size for p in (scratch / name).iterdir() if p.is_file())
        for name in folders
    }


def measure(output: Path, *, scratch: Path = SCRATCH) -> None:
    """Kill two runs and let the third end; an existing scratch folder is continued."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    scratch.mkdir(parents=True, exist_ok=True)
    made(scratch / "network")
    runs = []
    for kill_at in (*KILLED_AT, ()):
        runs.append(killed_run(scratch, kill_at))
        print(json.dumps(runs[-1]), flush=True)
    result = {"shape": SHAPE, "tokens": SEQUENCES * LENGTH, "keep": KEEP, "runs": runs}
    result |= {"bytes_on_disk": sizes(scratch), "threads": os.environ.get("OMP_NUM_THREADS")}
    write_json(result, output)


MEASUREMENT = Measurement(measure)
