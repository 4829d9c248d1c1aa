"""What is timed and where, as a record."""

from __future__ import annotations

import platform
from pathlib import Path

import torch
from torch import nn

from eckart.network.identity import fingerprint
from eckart.records.timings import Terms
from eckart.runtimes import Runtime, versions_of

_CPU = Path("/proc/cpuinfo")


def terms_of(model: nn.Module, runtime: Runtime, batch: int, threads: int) -> Terms:
    """The terms on which a network is timed here."""
    first = next(iter(model.parameters()), torch.empty(0))
    return Terms(
        fingerprint=fingerprint(model),
        runtime=runtime.name,
        batch=batch,
        threads=threads,
        device=first.device.type,
        dtype=str(first.dtype).removeprefix("torch."),
        machine=machine_of(first.device),
        versions=versions_of(runtime),
    )


def machine_of(device: torch.device) -> str:
    """The name of the processor or graphics card."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    lines = _CPU.read_text(encoding="utf-8").splitlines() if _CPU.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(named), platform.processor() or platform.machine())
