"""Programs of ``torch.export``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import torch

from eckart.exporting.preparing import Ready
from eckart.exporting.tracing import told_of_tracing
from eckart.storage.writing import written


@final
class TorchProgram:
    """What ``torch.export.load`` reads; it needs neither eckart nor the network's class."""

    name = "torch"

    def write(self, network: Ready, path: Path) -> None:
        """Trace and write."""
        with told_of_tracing(self.name, network):
            program: Any = torch.export.export(
                network.model,
                network.args,
                network.kwargs,
                dynamic_shapes=network.dynamic_shapes,
                strict=False,
            )
        with written(path) as file:
            torch.export.save(program, file)
