"""Two processes, two hash seeds, one or two threads: one plan."""

import json
import os
import subprocess
import sys
from typing import Any

SCRIPT = """
import json, sys, warnings
import torch
from torch import nn
import eckart

warnings.simplefilter("ignore")
torch.set_num_threads(int(sys.argv[1]))
torch.manual_seed(0)
network = nn.Sequential(
    nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 10, 3, padding=1), nn.ReLU(),
    nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(40, 20), nn.ReLU(), nn.Linear(20, 6),
).eval()
moments = eckart.calibrate(network, torch.randn(200, 3, 8, 8).split(50))
options = eckart.curves(network, moments)
budgets = [eckart.Budget(params=0.6), eckart.Budget(params=0.5, macs=0.5)]
plans = [eckart.allocate(options, budget).as_json() for budget in budgets]
print(json.dumps([
    {
        "forms": {name: (c["method"], c["form"]) for name, c in plan["choices"].items()},
        "kept": {name: removal["kept"] for name, removal in plan["removals"].items()},
    }
    for plan in plans
]))
"""


def process(hash_seed: int, threads: int) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PYTHONHASHSEED": str(hash_seed),
        "OMP_NUM_THREADS": str(threads),
    }
    command = [sys.executable, "-c", SCRIPT, str(threads)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_every_process_chooses_the_same_plan():
    running = [process(hash_seed=1, threads=1), process(hash_seed=2, threads=2)]
    one, other = (json.loads(each.communicate(timeout=120)[0]) for each in running)
    assert one == other
    kept: list[dict[str, Any]] = [plan["kept"] for plan in one]
    assert any(plan["forms"] for plan in one)
    assert any(kept)
