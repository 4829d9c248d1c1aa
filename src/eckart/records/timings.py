"""How long layers and networks take where they run: the table behind budgets in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Any

from eckart.errors import CheckpointError, InputError, MismatchError
from eckart.records.forms import Form, LayerSpec
from eckart.records.pieces import Piece, Size
from eckart.records.reading import Width, read
from eckart.records.surfaces import Surface, kind_of
from eckart.storage.reading import read_sealed, write_sealed
from eckart.storage.writing import shown


@dataclass(frozen=True)
class Terms:
    """What was timed, and where. Times are of use on the same terms only.

    Attributes:
        fingerprint: of the network.
        runtime: name of the runtime.
        batch: examples in a forward pass.
        threads: of the runtime.
        device: type of the device, such as ``"cpu"``.
        dtype: of the weights.
        machine: name of the processor or graphics card.
        versions: of the packages of the runtime.
    """

    fingerprint: str
    runtime: str
    batch: Width
    threads: Width
    device: str
    dtype: str
    machine: str
    versions: Mapping[str, str]

    def check(self, others: Terms) -> None:
        """Raise ``MismatchError`` that says what differs, if something does."""
        pairs = {f.name: (getattr(self, f.name), getattr(others, f.name)) for f in fields(self)}
        wrong = [f"{name} {a!r} instead of {b!r}" for name, (a, b) in pairs.items() if a != b]
        if wrong:
            raise MismatchError(
                f"these timings do not fit: they have {', '.join(wrong)}; "
                "make others with eckart.profile"
            )

    def __str__(self) -> str:
        return terms_text(self.runtime, self.batch, self.threads)


@dataclass(frozen=True)
class Whole:
    """One whole network: the sum of the times of its layers, and the time that was measured.

    Attributes:
        layers_ms: the sum over its layers, from the table.
        measured_ms: of the network.
    """

    layers_ms: float
    measured_ms: float


@dataclass(frozen=True, kw_only=True)
class Timings:
    """The times of the layers of one network on one runtime, from ``eckart.profile``.

    The time of a network is predicted as ``constant + factor · layers``. The sum of its layers'
    times comes from the table. Constant and factor come from whole networks.

    Attributes:
        terms: what was timed, and where.
        surfaces: the times of every kind of layer.
        passing: milliseconds per channel of one norm and activation, by size of the map; empty
            where the runtime fuses them into the layer before.
        whole: the dense network, and a few smaller ones; empty if the run was interrupted.
        rounded: the dense network with weights and activations of 8 bits; empty if it was not
            timed.
        noise: the median over all calls of (usual − least) / least time.
    """

    terms: Terms
    surfaces: tuple[Surface, ...] = field(repr=False)
    passing: Mapping[str, float] = field(default_factory=dict)
    whole: tuple[Whole, ...] = ()
    noise: float = 0.0
    rounded: tuple[Whole, ...] = ()

    @cached_property
    def _table(self) -> dict[tuple[Piece, Size], Surface]:
        return {(surface.kind, surface.size): surface for surface in self.surfaces}

    @property
    def dense_ms(self) -> float:
        """What the dense network takes.

        Raises:
            InputError: it was not timed, because the run was interrupted.
        """
        if not self.whole:
            raise InputError(
                "these timings are not complete: call eckart.profile again with the same path"
            )
        return self.whole[0].measured_ms

    @property
    def factor(self) -> float:
        """Time of a network per time of its layers: the line of least squares through dense."""
        dense, *others = (*self.whole, *self.rounded)
        across = sum((w.layers_ms - dense.layers_ms) ** 2 for w in others)
        if across == 0:
            return min(1.0, dense.measured_ms / dense.layers_ms)
        rise = sum(
            (w.layers_ms - dense.layers_ms) * (w.measured_ms - dense.measured_ms) for w in others
        )
        return min(max(rise / across, 0.0), dense.measured_ms / dense.layers_ms)

    @property
    def constant(self) -> float:
        """What does not depend on the layers."""
        return self.dense_ms - self.factor * self.whole[0].layers_ms

    @property
    def rounded_factor(self) -> float:
        """The same for layers with rounded activations: exact for the dense network in 8 bits."""
        return sum(max(w.measured_ms - self.constant, 0.0) / w.layers_ms for w in self.rounded)

    def layer_ms(self, spec: LayerSpec, form: Form) -> float:
        """The time of all calls of a layer in this form, from the table.

        It is infinite for a form that was not timed: of a kind that is not in the table, wider than
        all that were timed, or in codes without rounded activations.
        """
        run = form.as_run(spec.multiplied)
        return sum((self._chain_ms(run, size) for size in spec.sizes), 0.0)

    def ms(self, spec: LayerSpec, form: Form) -> float:
        """What a layer in this form adds to the time of the network."""
        factor = self.rounded_factor if form.activations else self.factor
        return factor * self.layer_ms(spec, form)

    def after_ms(self, spec: LayerSpec, channels: int) -> float:
        """What the norm and activation of some output channels of a layer add to the time."""
        sizes = [spec.piece.output_size(size) for size in spec.sizes]
        each = sum(self.passing.get(named(size), 0.0) for size in sizes)
        return self.factor * each * channels

    def _chain_ms(self, form: Form, size: Size) -> float:
        total = 0.0
        for piece in form.pieces:
            surface = self._table.get((kind_of(piece), size))
            if surface is None or (piece.bits and not piece.activations):
                return inf
            total += surface.at(piece)
            size = piece.output_size(size)
        return total

    def __str__(self) -> str:
        count = sum(len(s.inputs) * len(s.outputs) for s in self.surfaces)
        whole = f"dense {self.dense_ms:.3g} ms; " if self.whole else "not complete; "
        return (
            f"{whole}{self.terms}; {count} layers of {len(self.surfaces)} kinds timed, "
            f"noise {self.noise:.1%}"
        )

    def as_json(self) -> dict[str, Any]:
        """Plain dictionaries and lists."""
        plain = asdict(self)
        return {**plain, "surfaces": [surface.as_json() for surface in self.surfaces]}

    @classmethod
    def from_json(cls, data: Any) -> Timings:
        """The inverse of ``as_json``."""
        return read(cls, data)

    def save(self, path: str | Path) -> None:
        """Write as JSON with a digest, completely or not at all.

        Raises:
            WriteError: the disk is full, or cannot be written to.
        """
        write_sealed(path, self.as_json())

    @classmethod
    def load(cls, path: str | Path) -> Timings:
        """Read what ``save`` wrote.

        Raises:
            CheckpointError: the file is missing, or not what was written.
        """
        data = read_sealed(path)
        try:
            return cls.from_json(data)
        except CheckpointError as error:
            raise CheckpointError(f"cannot read timings from {shown(path)}: {error}") from error

    def contradiction(self) -> str | None:
        """Times of networks must be positive."""
        wrong = any(min(w.layers_ms, w.measured_ms) <= 0 for w in (*self.whole, *self.rounded))
        return "a network takes no time" if wrong else None


def terms_text(runtime: str, batch: int, threads: int) -> str:
    """Where something was timed, as text."""
    return f"{runtime}, batch {batch}, {threads} thread{'s' * (threads > 1)}"


def named(size: Size) -> str:
    """The name of a size in ``Timings.passing``."""
    return "×".join(map(str, size))
