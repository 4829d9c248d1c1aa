"""CPU seconds and memory of everything after calibration, on networks that people use.

Every network runs in a process of its own, on 2 × 8 images or 2 × 512 tokens, with the default
methods of budgets that limit one cost. The weights are random, except those of ResNet-20 and
SmolLM2: time depends on the shapes.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, TypeVar

import torch
from torch import nn

import eckart
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results, Row
from eckart.stages.curves.first import first_curves

T = TypeVar("T")
BATCHES, BATCH = 2, 8
BUDGETS = (0.5, 0.3)  # of what is limited: the first one and another
FIRST_LOOK = 0.9  # of what is limited: low rank alone reaches it anywhere
LIMITS = ("params", "macs")
MODULE = "benchmarks.costs.seconds"


def chain() -> nn.Module:
    """A denoiser: 17 convolutions of 64 channels between one that enters and one that leaves."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, padding=1), nn.ReLU()]
    for _ in range(17):
        layers += [nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(64, 3, 3, padding=1))


def torchvision_model(name: str) -> Callable[[], nn.Module]:
    """A network of torchvision with random weights."""

    def make() -> nn.Module:
        from torchvision.models import get_model

        model: nn.Module = get_model(name, weights=None)
        return model

    return make


def resnet20() -> nn.Module:
    """The trained ResNet-20 of the shared data."""
    from benchmarks.subjects.reference import reference

    return reference("resnet20", None, 1, 1).model


@dataclass(frozen=True)
class Timed:
    """A network to time.

    Attributes:
        make: the network.
        shape: of one batch of images; of tokens if it has two axes.
        target_s: seconds asked for, of `curves` and the first budget.
    """

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    target_s: float

    def batches(self) -> list[Any]:
        """What it is calibrated on."""
        if len(self.shape) == 2:
            return [{"input_ids": torch.randint(0, 10_000, self.shape)} for _ in range(BATCHES)]
        return [torch.randn(self.shape) for _ in range(BATCHES)]


def smollm2() -> nn.Module:
    """SmolLM2-135M, from its package."""
    from benchmarks.subjects.language import smollm2

    return smollm2()[0]


def _images(pixels: int) -> tuple[int, ...]:
    return BATCH, 3, pixels, pixels


NETWORKS = {
    "ResNet-20": Timed(resnet20, _images(32), 6),
    "MobileNetV3-small": Timed(torchvision_model("mobilenet_v3_small"), _images(64), 15),
    "ResNet-18": Timed(torchvision_model("resnet18"), _images(64), 30),
    "chain of 17 convolutions": Timed(chain, _images(64), 20),
    "DenseNet-121": Timed(torchvision_model("densenet121"), _images(64), 60),
    "ResNet-50": Timed(torchvision_model("resnet50"), _images(64), 90),
    "ConvNeXt-T": Timed(torchvision_model("convnext_tiny"), _images(64), 60),
    "ViT-B/16": Timed(torchvision_model("vit_b_16"), _images(224), 60),
    "SmolLM2-135M": Timed(smollm2, (1, 512), 40),
}


def measured(name: str, limit: str) -> Row:
    """All stages of one network in this process, for budgets that limit one cost."""
    torch.manual_seed(0)
    timed = NETWORKS[name]
    model, batches = timed.make().eval(), timed.batches()
    cpu, wall, moments = clocked(lambda: eckart.calibrate(model, batches, progress=False))
    row: Row = {"network": name, "shape": list(timed.shape), "limits": limit}
    row |= {"target_s": timed.target_s, "threads": torch.get_num_threads()}
    row |= {"calibrate_s": cpu, "calibrate_wall_s": wall}
    row["first_look_s"], _, _ = clocked(lambda: looked(model, moments, limit))
    before = restart_peak()
    cpu, wall, curves = clocked(
        lambda: eckart.curves(model, moments, limits=[limit], progress=False)
    )
    row |= {"curves_s": cpu, "curves_wall_s": wall, "peak_bytes": peak() - before}
    row |= {
        "moments_bytes": moments.nbytes,
        "options": sum(len(curve.options) for curve in curves.curves),
        "groups": len(curves.groups),
    }
    for label, keep in zip(("first_budget", "another_budget"), BUDGETS, strict=True):
        allowed: Any = {limit: keep}
        chosen = partial(eckart.allocate, curves, eckart.Budget(**allowed))
        row[f"{label}_s"], _, plan = clocked(chosen)
    row["other_limits_s"], _, _ = clocked(lambda: again(model, moments, limit, curves))
    row["apply_s"], _, _ = clocked(lambda: eckart.apply(model, plan, moments))
    row["after_calibration_s"] = row["curves_s"] + row["first_budget_s"]
    return row


def looked(model: nn.Module, moments: eckart.Moments, limit: str) -> float:
    """The predicted loss of the first budget by low rank alone."""
    first = first_curves(model, moments, limits=[limit], progress=False)
    allowed: Any = {limit: FIRST_LOOK}
    return eckart.allocate(first, eckart.Budget(**allowed)).loss


def again(
    model: nn.Module, moments: eckart.Moments, limit: str, curves: eckart.Curves
) -> eckart.Curves:
    """The curves for the other limit, with what those for this one hold."""
    others = [name for name in LIMITS if name != limit]
    return eckart.curves(model, moments, limits=others, reuse=curves, progress=False)


def clocked(run: Callable[[], T]) -> tuple[float, float, T]:
    """CPU seconds of all threads, seconds of wall, and the result."""
    cpu, wall = process_time(), perf_counter()
    found = run()
    return process_time() - cpu, perf_counter() - wall, found


def restart_peak() -> int:
    """Forget the largest resident size so far; the size now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return status("VmRSS")


def peak() -> int:
    """The largest resident size since then, in bytes."""
    return status("VmHWM")


def status(field: str) -> int:
    """A size in the kernel's account of this process, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise ValueError(f"/proc/self/status has no {field}")


def measure(
    output: Path,
    *,
    networks: Sequence[str] = tuple(NETWORKS),
    limits: Sequence[str] = LIMITS,
    limit_s: float = 1200.0,
) -> None:
    """One child process for each row; those that are in the file already are left out."""
    results = Results(output)
    for name, limit in product(networks, limits):
        if results.has(network=name, limits=limit):
            continue
        command = [sys.executable, "-m", MODULE, name, str(torch.get_num_threads()), limit]
        try:
            child = subprocess.run(command, capture_output=True, timeout=limit_s, check=False)
        except subprocess.TimeoutExpired:
            results.add({"network": name, "limits": limit, "not_done_after_s": limit_s})
            continue
        if child.returncode:
            raise SystemExit(f"{name} failed:\n{child.stderr.decode()}")
        results.add(json.loads(child.stdout.splitlines()[-1]))


MEASUREMENT = Measurement(measure, choices={"networks": NETWORKS, "limits": LIMITS}, threads=2)

if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    print(json.dumps(measured(sys.argv[1], sys.argv[3])))
