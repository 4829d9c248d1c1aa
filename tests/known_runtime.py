"""A runtime whose clock says exactly what layers cost, so that timings can be compared with it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import ceil, prod
from typing import Any

import pytest
from torch import nn

from eckart.layers import piece_of, type_of
from eckart.network.costs import trace_sizes
from eckart.records import Piece
from eckart.records.pieces import Size
from eckart.running.batches import examples_in, inputs_of
from eckart.runtimes import RUNTIMES, Ladder, Run, Runtime, register_runtime

BLOCK = 8  # outputs are computed this many at a time
OVERHEAD_MS = 0.3


def known_ms(piece: Piece, size: Size, batch: int) -> float:
    """A staircase in the outputs, linear in the inputs."""
    outputs = ceil(piece.outputs / BLOCK) * BLOCK
    positions = prod(piece.output_size(size))
    return 1e-5 * batch * positions * prod(piece.kernel) * piece.inputs * outputs / piece.groups


@dataclass
class KnownRuntime:
    """Advances its own clock instead of computing.

    Attributes:
        per_factor_ms: what a network takes for each layer that is not where a layer was.
        jitter: by what each pass is slower than it should be, as a fraction, in turn.
    """

    name: str = "known"
    per_factor_ms: float = 0.0
    jitter: Callable[[int], float] = lambda passes: 0.0
    now_s: float = 0.0
    passes: int = 0
    prepared: list[nn.Module] = field(default_factory=list)

    @property
    def runtime(self) -> Runtime:
        return Runtime(
            self.name,
            self._prepare,
            self._ladder,
            packages=(),
            fuses=True,
            clock=lambda: self.now_s,
        )

    def network_ms(self, model: nn.Module, inputs: Any) -> float:
        """What a network takes."""
        batch = examples_in(inputs_of(inputs))
        layers = {n: m for n, m in model.named_modules() if type_of(m) is not None}
        total = OVERHEAD_MS
        for name, sizes in trace_sizes(model, inputs).items():
            total += sum(known_ms(piece_of(layers[name]), size, batch) for size in sizes)
            total += self.per_factor_ms * name.rpartition(".")[2].isdigit() * ("." in name)
        return total

    def _prepare(self, model: nn.Module, inputs: Any, threads: int) -> Run:
        self.prepared.append(model)
        return self._taking(self.network_ms(model, inputs))

    def _ladder(self, ladder: Ladder, threads: int) -> Run:
        each = known_ms(ladder.piece, ladder.size, ladder.batch)
        return self._taking(OVERHEAD_MS + ladder.copies * each)

    def _taking(self, ms: float) -> Run:
        def run() -> None:
            self.passes += 1
            self.now_s += ms * 1e-3 * (1 + self.jitter(self.passes))

        return run


@pytest.fixture
def known() -> Iterator[KnownRuntime]:
    """A registered runtime that is forgotten after the test."""
    found = KnownRuntime()
    register_runtime(found.runtime)
    yield found
    del RUNTIMES[found.name]
