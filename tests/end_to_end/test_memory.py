"""What is resident at most, measured in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
WIDTH, LAYERS = 1536, 8
SUMS = 12 * WIDTH**2  # bytes of one layer's, with those of the batch under way
SCRIPT = f"""
import json, re, sys
from pathlib import Path
import torch
from torch import nn
import eckart

def peak():
    # not ru_maxrss, which begins with what the parent of a process has at the time
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

torch.set_num_threads(1)
torch.manual_seed(0)
model = nn.Sequential(*(nn.Linear({WIDTH}, {WIDTH}, bias=False) for _ in range({LAYERS})))
batches = [torch.randn(8, {WIDTH}) for _ in range(2)]
small = [nn.Sequential(nn.Linear(9, 9)), [torch.randn(8, 9)]]  # imports what is needed
eckart.calibrate(*small)
eckart.calibrate(*small, metric=None, workspace=sys.argv[1] + " small").a("0")
with torch.no_grad():
    model(batches[0])
found = [peak()]
given = dict(metric=None, memory_bytes={SUMS} + 1)
moments = eckart.calibrate(model, batches, workspace=sys.argv[1], **given)
found.append(peak())
for name in moments.specs:
    moments.a(name)
found.append(peak())
eckart.calibrate(model, batches, metric=None)
found.append(peak())
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def peaks(tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    """After the model has run, after calibration in parts, after each was read, and at once."""
    folder = tmp_path_factory.mktemp("memory") / "workspace"
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    returned = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}  # what is freed goes back
    done = subprocess.run(command, env=returned, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(list(Path(folder).glob("moments-*"))) == LAYERS
    found: list[int] = json.loads(done.stdout)
    return found


def test_calibration_in_parts_takes_the_sums_of_one_part(peaks: list[int]):
    start, parts, *_ = peaks
    assert parts - start < 3 * SUMS  # and, while they are cast, a float32 copy and a product


def test_what_was_read_is_not_kept(peaks: list[int]):
    _, parts, read, _ = peaks
    assert read - parts < 3 * 8 * WIDTH**2  # one sum, mapped, and what it is divided into


def test_at_once_it_would_take_all_sums(peaks: list[int]):
    *_, read, at_once = peaks
    assert at_once - peaks[0] > 0.9 * LAYERS * SUMS
    assert at_once > read
