"""A layer of the smaller network beside the teacher's, what is known of it and what it may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast, final

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from eckart.layers import as_matrix, bias_of, piece_of, refill, weight_of
from eckart.methods import regular
from eckart.stages.heal.channels import (
    Kept,
    entries,
    kept_channels,
    last_piece,
    narrowed_matrix,
)
from eckart.stages.heal.refit.fits import Layer, Weights
from eckart.stages.heal.refit.flow import Tail
from eckart.stages.heal.refit.sums import Quadratic
from eckart.stages.heal.refit.targets import Affine
from eckart.stages.heal.treatments import Case


@final
@dataclass(frozen=True)
class Candidate:
    """Weights and bias that a layer may get."""

    weights: Weights
    bias: Float64[Tensor, "groups out"]

    def loss(self, layer: Layer, q: Quadratic, g: Tensor) -> float:
        """On some examples' quadratic."""
        return float(q.shifted(self.bias).loss(layer.matrix(self.weights), g))


@final
@dataclass(frozen=True)
class Site:
    """One layer.

    Attributes:
        name: in both networks.
        module, dense: the smaller one's and the teacher's.
        tail: what follows it.
        norm: the smaller network's, after it.
        theirs: what the teacher's norm does to the channels that are left.
        kept: those channels.
        layer: shapes of the smaller one.
    """

    name: str
    module: nn.Module
    dense: nn.Module
    tail: Tail
    norm: nn.Module | None
    theirs: Affine
    kept: Kept
    layer: Layer

    @classmethod
    def of(cls, case: Case, tail: Tail, name: str) -> Site:
        """The layer of a name."""
        module, dense = (net.get_submodule(name) for net in (case.student, case.teacher))
        norm = None if tail.norm is None else case.student.get_submodule(tail.norm)
        kept = kept_channels(case.plan, case.teacher, name)
        width, weight = piece_of(dense).outputs, weight_of(dense)
        other = None if tail.norm is None else case.teacher.get_submodule(tail.norm)
        affine = Affine.of(other, width, weight)
        theirs = Affine(kept.of(affine.scale, 0), kept.of(affine.shift, 0))
        return cls(name, module, dense, tail, norm, theirs, kept, Layer.of(module))

    @property
    def ours(self) -> Affine:
        """What the norm after this layer does now."""
        width = self.layer.matrix_shape[0] * self.layer.matrix_shape[1]
        return Affine.of(self.norm, width, weight_of(self.dense))

    @property
    def has_bias(self) -> bool:
        """Whether a bias can be had: the layer's own, or the norm's mean."""
        return self.norm is not None or bias_of(last_piece(self.module)) is not None

    def bias(self) -> Float64[Tensor, "groups out"]:
        """The layer's own bias; zeros where it has none."""
        bias = bias_of(last_piece(self.module))
        shape = self.layer.matrix_shape[:2]
        if bias is None:
            return torch.zeros(shape, dtype=torch.float64, device=weight_of(self.dense).device)
        return bias.detach().double().reshape(shape)

    def candidate(self, weights: Weights, q: Quadratic, free: bool) -> Candidate:
        """Weights with the bias as it is, or the best one."""
        return Candidate(weights, q.free_bias(self.layer.matrix(weights)) if free else self.bias())

    def install(self, candidate: Candidate) -> None:
        """Put weights and bias in; without a bias of its own, the norm's mean takes it."""
        refill(self.module, candidate.weights)
        bias = bias_of(last_piece(self.module))
        if bias is not None:
            bias.copy_(candidate.bias.flatten())
        elif self.norm is not None:
            mean = cast(Tensor, self.norm.running_mean)
            mean.sub_(candidate.bias.flatten().to(mean))

    @property
    def change(self) -> Affine:
        """From the teacher's output to what must enter this network's norm to give the same."""
        ours = self.ours
        both, seen = self.theirs.then(ours.inverse()), ours.visible & self.theirs.visible
        return Affine(torch.where(seen, both.scale, 1.0), torch.where(seen, both.shift, 0.0))

    def metric(self, case: Case) -> Float64[Tensor, "groups out out"]:
        """``G`` at the outputs that are left, in this network's scale; I without moments."""
        groups, out, _ = self.layer.matrix_shape
        if case.moments is None or self.name not in case.moments.specs:
            device = weight_of(self.dense).device
            return torch.eye(out, dtype=torch.float64, device=device).repeat(groups, 1, 1)
        g = case.moments.g(self.name).to(weight_of(self.dense).device)
        if self.kept.rows is not None:
            g = g[self.kept.rows] if len(g) > 1 else g[:, self.kept.rows][:, :, self.kept.rows]
        scale = 1 / self.change.scale.reshape(groups, out)
        return regular(scale[..., None] * g * scale[:, None])

    def prior(self, case: Case) -> Quadratic | None:
        """What the teacher's own moments say: ``A`` and ``W A``, in this network's scale."""
        if case.moments is None or self.name not in case.moments.specs:
            return None
        device = weight_of(self.dense).device
        a, x = case.moments.a(self.name).to(device), case.moments.mean(self.name).to(device)
        w, bias = as_matrix(self.dense).double(), bias_of(self.dense)
        b = torch.zeros(w.shape[:2]).to(w) if bias is None else bias.detach().reshape(w.shape[:2])
        b = b.double()[..., None]
        wx, mean = w @ x[..., None], x[:, None]
        cross, t = w @ a + b @ mean, wx + b
        targets = w @ a @ w.mT + wx @ b.mT + b @ wx.mT + b @ b.mT
        return self._rescaled(self._narrowed(a, cross, targets, x, t[..., 0]))

    def _narrowed(
        self, a: Tensor, cross: Tensor, targets: Tensor, x: Tensor, t: Tensor
    ) -> Quadratic:
        """The part between the channels that are left."""
        rows, kept = self.kept.rows, self.kept
        cross = narrowed_matrix(cross, self.dense, kept)
        if rows is not None and len(a) > 1:  # depthwise: a group is a channel
            return Quadratic(a[rows], cross, targets[rows], x[rows], t[rows])
        if rows is not None:
            targets, t = targets[:, rows][:, :, rows], t[:, rows]
        if kept.columns is not None:
            columns = entries(self.dense, kept)
            a, x = a[:, columns][:, :, columns], x[:, columns]
        return Quadratic(a, cross, targets, x, t)

    def _rescaled(self, q: Quadratic) -> Quadratic:
        """From the teacher's scale to this network's."""
        shape, change = self.layer.matrix_shape[:2], self.change
        scale, shift = change.scale.reshape(shape), change.shift.reshape(shape)
        left = scale[..., None]
        targets = left * q.targets * scale[:, None]
        return Quadratic(q.gram, left * q.cross, targets, q.x, scale * q.t).shifted(-shift)
