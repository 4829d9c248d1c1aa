"""The second moments of every layer: everything that is kept of the calibration data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from eckart.errors import CheckpointError, MismatchError
from eckart.moments.file_format import FORMAT, PARTS, description, scatter_key
from eckart.moments.parts import joined_fields, whole_fields
from eckart.moments.scatter import Scatter, added_scatters, with_copies
from eckart.moments.sharing import in_all, sharing_differs, widest
from eckart.moments.sums import added, diagonal, trace
from eckart.records.forms import LayerSpec
from eckart.records.spreads import (
    Spread,
    added_spreads,
    idle_outputs,
    output_key,
    scales_of,
    weights_differ,
)
from eckart.storage.tensors import write_tensors
from eckart.storage.workspace import StoredSums, Workspace, decompositions_in


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Sums over the calibration data, from which the loss of every option is computed.

    All sums are float64. Groups are those of a grouped convolution; other layers have one group.

    Attributes:
        specs: the layers that can be compressed, by name.
        grams: sum of ``x xᵀ`` over rows, shape (groups, in, in), by input key.
        totals: sum of ``x`` over rows, shape (groups, in), by input key.
        rows: number of rows, by input key.
        output_grams: sum of ``g gᵀ`` over rows, shape (groups, out, out), by layer, and for
            several outputs of the network by layer and path, see ``output_key``; empty when
            calibrated without a metric. If the rows of an example were taken jointly: sum of
            ``D Dᵀ`` over examples, where ``D`` is the gradient of the weight for one example.
        joint_grams: sum of ``Dᵀ D``, shape (groups, in, in), by layer, if rows were taken jointly.
        examples: number of examples.
        outputs: the ``N`` that output_grams are divided by: predicted tokens for language models,
            else examples.
        batches: number of batches consumed, so another run can continue from there.
        metric: what G is measured in; None when calibrated without one.
        skipped: layers that stay dense, with the reason.
        fingerprint: of the network.
        example: the inputs of one example, for tracing; tensors in tuples, lists and dicts.
        sample: inputs of a few examples, in batches, on which predictions are checked.
        model_costs: cost of the whole dense network by metric.
        spreads: how much each output varies, by path; empty unless the metric is ``"outputs"``.
        left_out: why other parts of the network's outputs do not count, by path.
        calls: the least and the largest number of calls in a batch, by layer.
        whole_batches: whether the network does not run on a single example. The example is then a
            whole batch, and costs are those of it.
        unreached: names of the parameters, of the opened network, that nothing used.
        scatters: how far each sum scatters over batches, by ``scatter_key``; empty if they are from
            a file of an older version.
    """

    specs: Mapping[str, LayerSpec]
    grams: Mapping[str, Float64[Tensor, "_groups _in _in"]]
    totals: Mapping[str, Float64[Tensor, "_groups _in"]]
    rows: Mapping[str, int]
    output_grams: Mapping[str, Float64[Tensor, "_groups _out _out"]]
    examples: int
    outputs: int
    batches: int
    metric: str | None
    skipped: Mapping[str, str]
    fingerprint: str
    example: Any = field(repr=False)
    joint_grams: Mapping[str, Float64[Tensor, "_groups _in _in"]] = field(default_factory=dict)
    model_costs: Mapping[str, int] = field(default_factory=dict)
    sample: tuple[Any, ...] = field(default=(), repr=False)
    spreads: Mapping[str, Spread] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    calls: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    whole_batches: bool = False
    unreached: tuple[str, ...] = ()
    scatters: Mapping[str, Scatter] = field(default_factory=dict)

    def a(self, layer: str) -> Float64[Tensor, "groups in in"]:
        """``A = E[x xᵀ]`` at the inputs of a layer: the mean over rows. Of a table: ``W A Wᵀ``."""
        key = self.specs[layer].input
        return self.grams[key] / self.rows[key]

    def loss_a(self, layer: str) -> Float64[Tensor, "groups in in"]:
        """The ``A`` of ``½ tr(G ΔW A ΔWᵀ)``: ``a``, or for joint rows ``Dᵀ D`` with a's trace."""
        if layer not in self.joint_grams:
            return self.a(layer)
        joint = self.joint_grams[layer]
        own = trace(joint)
        return joint * torch.where(own > 0, trace(self.a(layer)) / own, 1.0)

    def mean(self, layer: str) -> Float64[Tensor, "groups in"]:
        """Mean input of a layer; the frequencies of a table's rows."""
        key = self.specs[layer].input
        return self.totals[key] / self.rows[key]

    def g(self, layer: str) -> Float64[Tensor, "groups out out"]:
        """``G`` at a layer's outputs, per output; without a metric, I times rows per output."""
        scale, spec = self.g_scale(layer), self.specs[layer]
        if layer in self.joint_grams:
            size = trace(self.a(layer))
            return self.output_grams[layer] / torch.where(size > 0, size, 1.0) / self.outputs
        if scale is None:
            return self.output_gram(layer) / self.outputs
        groups, out, _ = spec.piece.matrix_shape
        device = self.grams[spec.input].device
        return scale * torch.eye(out, dtype=torch.float64, device=device).repeat(groups, 1, 1)

    def g_scale(self, layer: str) -> float | None:
        """Without a metric, ``G`` is this multiple of the identity; None with a metric."""
        if self.output_keys(layer):
            return None
        return self.rows[self.specs[layer].input] / self.outputs

    @property
    def scales(self) -> dict[str, float]:
        """What the squared change of each output is multiplied by, see ``scales_of``."""
        return scales_of(self.spreads, self._probed, self.examples)

    @property
    def ignored(self) -> dict[str, str]:
        """Why parts of the network's outputs do not count, by path."""
        others = {path: why for path, why in self.left_out.items() if path not in self.spreads}
        return {**others, **idle_outputs(self.spreads, self._probed)}

    @cached_property
    def _probed(self) -> set[str]:
        """The paths of the outputs from which a gradient reached a layer."""
        return {path for layer in self.specs for path in self.output_keys(layer)}

    def output_keys(self, layer: str) -> dict[str, str]:
        """The keys of a layer's sums, by the path of the output."""
        keys = {path: output_key(layer, path) for path in ("", *self.spreads)}
        return {path: key for path, key in keys.items() if key in self.output_grams}

    def output_gram(self, layer: str) -> Tensor:
        """The sum over all outputs, each at its scale."""
        keys, scales = self.output_keys(layer), self.scales
        if len(keys) == 1 and len(scales) < 2:
            return self.output_grams[next(iter(keys.values()))]
        return torch.stack([scales[k] * self.output_grams[key] for k, key in keys.items()]).sum(0)

    @property
    def nbytes(self) -> int:
        """Bytes of the sums, computed from the shapes of the layers; no file is read."""
        pieces = {spec.input: spec.piece for spec in self.specs.values()}
        shapes = [(*p.moment_shape, p.matrix_shape[2]) for p in pieces.values()]
        entries = sum(groups * (size * size + inputs) for groups, _, size, inputs in shapes)
        for name, spec in self.specs.items():
            groups, out, size = spec.piece.moment_shape
            entries += groups * out * out * len(self.output_keys(name))
            entries += groups * size * size * (name in self.joint_grams)
        return 8 * entries

    @property
    def digest(self) -> str:
        """A short hash of the sums' diagonals, which differs for other data or another metric."""
        digest = hashlib.sha256(
            f"{self.fingerprint} {self.examples} {self.outputs} {self.metric}".encode()
        )
        for part in (self.grams, self.output_grams):
            for key in sorted(part):
                digest.update(diagonal(part, key).cpu().numpy().tobytes())
        if len(self.scales) > 1:
            digest.update(str(sorted(self.scales.items())).encode())
        return digest.hexdigest()[:16]

    def __str__(self) -> str:
        return (
            f"moments of {len(self.specs)} layers from {self.examples} examples in "
            f"{self.batches} batches, metric {self.metric}{self._counted()}, "
            f"{self.nbytes / 1e6:.1f} MB" + "; costs are per batch" * self.whole_batches
        )

    def _counted(self) -> str:
        """How many outputs count if there are several, and how many parts do not."""
        count, others = len(self.scales), len(self.ignored)
        several = f" of {count} outputs" if count > 1 else ""
        return several + (f" ({others} left out)" if others else "")

    def __add__(self, other: Moments) -> Moments:
        """The moments of both data sets together."""
        if (self.fingerprint, self.metric) != (other.fingerprint, other.metric):
            raise MismatchError("moments of different networks or metrics cannot be added")
        if weights_differ(self.spreads, other.spreads):
            raise MismatchError("moments of outputs with different weights cannot be added")
        if any((k in self.joint_grams) != (k in other.joint_grams) for k in self._both(other)):
            raise MismatchError("moments of rows taken jointly and apart cannot be added")
        apart = sharing_differs([self.specs, other.specs])
        left, right = self.unshared(apart), other.unshared(apart)
        specs = {**right.specs, **left.specs}
        return replace(
            left,
            specs=specs,
            grams=added(left.grams, right.grams),
            totals=added(left.totals, right.totals),
            rows={
                k: left.rows.get(k, 0) + right.rows.get(k, 0) for k in {**left.rows, **right.rows}
            },
            output_grams=added(left.output_grams, right.output_grams),
            joint_grams=added(left.joint_grams, right.joint_grams),
            examples=self.examples + other.examples,
            outputs=self.outputs + other.outputs,
            batches=self.batches + other.batches,
            skipped={k: v for k, v in {**other.skipped, **self.skipped}.items() if k not in specs},
            sample=self.sample or other.sample,
            spreads=added_spreads([self.spreads, other.spreads]),
            left_out={**other.left_out, **self.left_out},
            calls=widest([self.calls, other.calls]),
            unreached=in_all([m.unreached for m in (self, other) if m.batches]),
            scatters=_scatters(left, right),
        )

    def without_layers(self, reason: str) -> Moments:
        """Moments of the same network without any layer; each is skipped for the given reason."""
        nothing: dict[str, Any] = {part: {} for part in (*PARTS.values(), "rows", "scatters")}
        return replace(
            self, specs={}, skipped={**self.skipped, **dict.fromkeys(self.specs, reason)}, **nothing
        )

    def _both(self, other: Moments) -> set[str]:
        """The layers for which both have gradients."""
        return self.output_grams.keys() & other.output_grams.keys()

    def unshared(self, layers: Iterable[str]) -> Moments:
        """The same sums; each of these layers that shares an input gets its own copy."""
        moved = {k: self.specs[k].input for k in layers if k in self.specs}
        moved = {k: v for k, v in moved.items() if k != v}
        keys = {scatter_key("gram", k): scatter_key("gram", v) for k, v in moved.items()}
        return replace(
            self,
            specs={k: replace(s, input=k) if k in moved else s for k, s in self.specs.items()},
            grams={**self.grams, **{k: self.grams[v].clone() for k, v in moved.items()}},
            totals={**self.totals, **{k: self.totals[v].clone() for k, v in moved.items()}},
            rows={**self.rows, **{k: self.rows[v] for k, v in moved.items()}},
            scatters=with_copies(self.scatters, keys),
        )

    @property
    def decompositions(self) -> Path | None:
        """Where decompositions are kept if the moments are in a workspace; else None."""
        parts = [getattr(self, name) for name in PARTS.values()]
        files = {f.parent for p in parts if isinstance(p, StoredSums) for f in p.files.values()}
        whole = all(isinstance(part, StoredSums) for part in parts) and len(files) == 1
        return decompositions_in(files.pop()) if whole else None

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, completely or not at all; the structure is in its metadata.

        Raises:
            CheckpointError: the disk is full, or cannot be written to.
        """
        leaves: list[Tensor] = []
        meta = description(vars(self), leaves)
        parts = {part: getattr(self, field) for part, field in PARTS.items()}
        tensors = {f"{p}/{k}": t.contiguous() for p, part in parts.items() for k, t in part.items()}
        tensors |= {f"example/{i}": t.contiguous().clone() for i, t in enumerate(leaves)}
        for part in ("gram", "output"):
            diagonals = {k: diagonal(parts[part], k).contiguous() for k in parts[part]}
            tensors |= {f"diagonal/{part}/{k}": t for k, t in diagonals.items()}
        write_tensors(Path(path), tensors, {"format": FORMAT, "moments": json.dumps(meta)})

    @classmethod
    def load(cls, path: str | Path) -> Moments:
        """Read a file that ``save`` wrote, or a folder that ``calibrate`` used as its workspace.

        The sums in a workspace stay on disk. Each is read when it is asked for.

        Raises:
            CheckpointError: the file is missing, damaged, or of another format; or calibration in
                the workspace is not finished.
        """
        fields = joined_fields(Workspace.read(path)) if Path(path).is_dir() else whole_fields(path)
        try:
            return cls(**fields)
        except TypeError as error:  # a field too many, or one too few
            raise CheckpointError(f"cannot read moments from {path}: {error}") from error


def _scatters(left: Moments, right: Moments) -> dict[str, Scatter]:
    """The scatters of both together; none if one of them has sums without them."""
    unknown = any(moments.specs and not moments.scatters for moments in (left, right))
    return {} if unknown else added_scatters(left.scatters, right.scatters)
