"""Streaming sums: second moments of inputs and output gradients.

Each batch is first summed separately, in float32. It joins the float64 sums only when it is
complete, so a run that stops early holds whole batches.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from eckart.errors import InputError, NonFiniteError
from eckart.layers import InputSums, LayerType, looked_up, type_of
from eckart.linalg import gradient_grams
from eckart.moments.distinct import DistinctInputs
from eckart.moments.file_format import PARTS, scatter_key
from eckart.moments.scatter import Scatter, added_scatters, fetched
from eckart.records.spreads import output_key
from eckart.running.masks import Padding, masks_of


@dataclass
class _Batch:
    """The sums of one batch so far: those of each distinct input, and which layers read it."""

    padding: Padding
    joint_examples: int | None = None
    path: str | None = None  # nothing is differentiated yet
    inputs: DistinctInputs = field(default_factory=DistinctInputs)
    sums: list[InputSums] = field(default_factory=list)
    calls: dict[str, list[int]] = field(default_factory=dict)
    output_grams: dict[str, Tensor] = field(default_factory=dict)
    joint_grams: dict[str, Tensor] = field(default_factory=dict)
    traces: dict[str, Tensor] = field(default_factory=dict)


class Accumulator:
    """Gathers moments layer by layer; an input that several layers read is summed once.

    Attributes:
        input_of: by layer, the key of its input moment: the first layer that reads this input.
        grams, totals, rows: float64 sums, by input key.
        calls: the least and the largest number of calls in a batch, by layer.
        output_grams, joint_grams: float64 sums, by layer; those of several outputs apart.
        scatters: how far the sums scatter over batches, by kind and key, see ``scatter_key``.
    """

    def __init__(self) -> None:
        self.input_of: dict[str, str] = {}
        self.grams: dict[str, Tensor] = {}
        self.totals: dict[str, Tensor] = {}
        self.rows: dict[str, int] = {}
        self.calls: dict[str, tuple[int, int]] = {}
        self.output_grams: dict[str, Tensor] = {}
        self.joint_grams: dict[str, Tensor] = {}
        self.scatters: dict[str, Scatter] = {}
        self._batch = _Batch(Padding())

    def begin(self, inputs: Any, joint_examples: int | None = None) -> None:
        """Start a batch. Positions that its masks mark as padding are not counted.

        Args:
            inputs: of the network.
            joint_examples: number of examples, if the rows of each are taken jointly; else None.
        """
        self._batch = _Batch(Padding(masks_of(inputs)), joint_examples)

    def differentiate(self, path: str) -> None:
        """The gradients that come next are those of the output at this path.

        Gradients before that are the network's own, if it differentiates inside its forward pass.
        """
        self._batch.path = path

    def see_input(self, name: str, module: nn.Module, x: Tensor) -> Tensor | None:
        """Add the input of one call to the batch; an input is summed only the first time.

        Returns:
            If rows are taken jointly, the rows of each example, to be passed to ``see_gradient``.
        """
        kind = type_of(module)
        if kind is None:
            return None
        _check_seen(name, x)
        batch = self._batch
        index = batch.inputs.index(x, kind.geometry(module))
        batch.calls.setdefault(name, []).append(index)
        if index == len(batch.sums):
            read = x[..., None] if kind.piece(module).table else x  # numbers of rows are no vectors
            sums = kind.input_sums(module, self._counted(kind, module, read))
            batch.traces[f"the inputs of layer {name!r}"] = _total_trace(sums.gram)
            batch.sums.append(sums)
        return self._by_example(kind, module, x)

    def see_gradient(self, name: str, module: nn.Module, grad: Tensor, rows: Tensor | None) -> None:
        """Add the output gradient of one call to the batch; ``rows`` are from ``see_input``."""
        kind, batch = type_of(module), self._batch
        if kind is None or batch.path is None:
            return
        if rows is None:
            gram = kind.output_gram(module, self._counted(kind, module, grad))
        else:
            joint, gram = gradient_grams(rows, grad.float().reshape(*rows.shape[:2], -1))
            _add_to(batch.joint_grams, name, joint[None])
            gram = gram[None]
        key = f"the gradients at the outputs of layer {name!r}"
        batch.traces[key] = batch.traces.get(key, 0) + _total_trace(gram)
        _add_to(batch.output_grams, output_key(name, batch.path), gram)

    def discard(self) -> None:
        """Forget the unfinished batch."""
        self._batch = _Batch(Padding())

    def check_finite(self) -> None:
        """Raise ``NonFiniteError`` for the first layer that saw NaN or infinity since last time.

        The numbers of all layers are fetched together, so that a GPU is waited for once.
        """
        traces, self._batch.traces = self._batch.traces, {}
        for what, trace in zip(traces, fetched([*traces.values()]), strict=True):
            if not isfinite(trace):
                raise NonFiniteError(
                    f"{what} hold NaN, infinity, or numbers whose squares overflow float32: check "
                    "the data and the layers before this one, or leave the layer out with layers=…"
                )

    def commit(self, samples: int = 1, outputs: int = 1) -> None:
        """Add the finished batch to the sums.

        Args:
            samples: the number of samples that its gradients were taken in.
            outputs: by how many outputs it increases ``N``.
        """
        self.check_finite()
        batch, self._batch = self._batch, _Batch(Padding())
        self._share(batch.calls)
        self._count(batch.calls)
        added: dict[str, tuple[Tensor, int]] = {}
        for name, calls in batch.calls.items():
            if self.input_of[name] == name:
                sums = [batch.sums[index] for index in calls]
                added[scatter_key("gram", name)] = self._add(name, sums)
        for kind, grams in (("output", batch.output_grams), ("joint", batch.joint_grams)):
            for name, gram in grams.items():
                mean = gram / samples
                _accumulate(getattr(self, PARTS[kind]), name, mean)
                added[scatter_key(kind, name)] = mean, outputs
        self.scatters = added_scatters(self.scatters, Scatter.of(added))

    def _count(self, calls: Mapping[str, list[int]]) -> None:
        """A layer that is missing here, or was before, has no call there."""
        before = self.calls if self.calls else dict.fromkeys(calls, (sys.maxsize, 0))
        for name in {**before, **calls}:
            least, most = before.get(name, (0, 0))
            found = len(calls.get(name, ()))
            self.calls[name] = (min(least, found), max(most, found))

    def _share(self, calls: Mapping[str, list[int]]) -> None:
        """Ensure that layers share a key only as long as they read the same tensors."""
        first = not self.input_of
        leaders: dict[tuple[int, ...], str] = {}
        for name, indices in calls.items():
            leader = leaders.setdefault(tuple(indices), name) if first else name
            key = self.input_of.setdefault(name, leader)
            if key != name and calls.get(key) != indices:
                self._split(name, key)
        for name, key in list(self.input_of.items()):
            if key != name and key in calls and name not in calls:
                self._split(name, key)

    def _split(self, name: str, key: str) -> None:
        """Give a layer its own input moment from now on, starting from the shared one."""
        self.input_of[name] = name
        if key in self.grams:
            self.grams[name] = self.grams[key].clone()
            self.totals[name] = self.totals[key].clone()
            self.rows[name] = self.rows[key]
            self.scatters[scatter_key("gram", name)] = self.scatters[scatter_key("gram", key)]

    def _counted(self, kind: LayerType, module: nn.Module, x: Tensor) -> Tensor:
        """The tensor without padding, if the layer's rows are the vectors along the last axis."""
        return x if kind.piece(module).kernel else self._batch.padding.real_part(x)

    def _by_example(self, kind: LayerType, module: nn.Module, x: Tensor) -> Tensor | None:
        """A copy of shape (examples, rows, in), zero at padding; None if rows are not joint."""
        examples, piece = self._batch.joint_examples, kind.piece(module)
        if examples is not None and piece.table:
            x = looked_up(module, x)
            examples = 1 if len(x) == 1 else examples  # once for all, as positions often are
        if examples is None or piece.kernel or x.dim() < 2 or len(x) != examples:
            return None
        real = self._batch.padding.real_rows(x.shape[:-1])
        rows = x.float().reshape(examples, -1, x.shape[-1])
        return rows.clone() if real is None else rows * real.to(rows).reshape(examples, -1, 1)

    def _add(self, key: str, calls: Sequence[InputSums]) -> tuple[Tensor, int]:
        """Add what the calls of a layer read in one batch; the gram of them, and the rows."""
        rows, gram = sum(sums.rows for sums in calls), _summed([sums.gram for sums in calls])
        for sums in calls:
            _accumulate(self.totals, key, sums.total)
        _accumulate(self.grams, key, gram)
        self.rows[key] = self.rows.get(key, 0) + rows
        return gram, rows


def _summed(grams: Sequence[Tensor]) -> Tensor:
    """The sum in float64; a single gram is returned unchanged."""
    first, *others = grams
    return sum((gram.double() for gram in others), first.double()) if others else first


def _add_to(sums: dict[str, Tensor], name: str, value: Tensor) -> None:
    """Add a value to a sum of the batch, in the precision of the batch."""
    sums[name] = sums[name] + value if name in sums else value


def moment_bytes(layers: Mapping[str, nn.Module], outputs: int = 1, joint: bool = False) -> int:
    """An upper bound on the bytes of these layers' moments: 8 (in² + in + k out²) per group.

    If the rows of an example are taken jointly, 8 (2 in² + in + k out²) per group.

    Args:
        layers: by name.
        outputs: the number k of the network's outputs whose gradients are summed apart.
        joint: whether the rows of an example are taken jointly.
    """
    total = 0
    for module in layers.values():
        kind = type_of(module)
        if kind is not None:
            piece = kind.piece(module)
            groups, out, inputs = piece.moment_shape
            gradients = outputs * out * out + joint * inputs * inputs
            total += 8 * groups * (inputs * inputs + piece.matrix_shape[2] + gradients)
    return total


def _accumulate(sums: dict[str, Tensor], key: str, value: Tensor) -> None:
    if key in sums:
        sums[key] += value
    else:
        sums[key] = value.double()


def _check_seen(name: str, x: Tensor) -> None:
    """Raise ``InputError`` inside ``torch.vmap`` and the like, which hide the numbers."""
    if torch._C._functorch.is_functorch_wrapped_tensor(x):
        raise InputError(
            f"layer {name!r} is called inside torch.vmap or torch.func.grad, where its inputs "
            "cannot be seen: call it on the whole batch, or leave it out with layers=…"
        )


def _total_trace(gram: Tensor) -> Tensor:
    return gram.diagonal(dim1=-2, dim2=-1).sum()
