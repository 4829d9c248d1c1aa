"""A layer of the smaller network and the teacher's: what is known, and candidates for it."""

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
    """Weights and a bias that a layer may be given."""

    weights: Weights
    bias: Float64[Tensor, "groups out"]

    def loss(self, layer: Layer, q: Quadratic, g: Tensor) -> float:
        """The loss on the quadratic of some examples."""
        return float(q.shifted(self.bias).loss(layer.matrix(self.weights), g))


@final
@dataclass(frozen=True)
class Site:
    """One layer of both networks.

    Attributes:
        name: its name in both networks.
        module, dense: the layer of the smaller network and that of the teacher.
        tail: what follows the layer.
        norm: the norm after it in the smaller network.
        theirs: what the teacher's norm does to the channels that are left.
        kept: the channels that are left.
        layer: shapes of the smaller network's layer.
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
        """The layer with this name."""
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
        """Whether a bias can be set: the layer's own, or the norm's mean."""
        return self.norm is not None or bias_of(last_piece(self.module)) is not None

    def bias(self) -> Float64[Tensor, "groups out"]:
        """The layer's own bias; zeros if it has none."""
        bias = bias_of(last_piece(self.module))
        shape = self.layer.matrix_shape[:2]
        if bias is None:
            return torch.zeros(shape, dtype=torch.float64, device=weight_of(self.dense).device)
        return bias.detach().double().reshape(shape)

    def candidate(self, weights: Weights, q: Quadratic, free: bool) -> Candidate:
        """Weights with the present bias or, if it is free, the best one."""
        return Candidate(weights, q.free_bias(self.layer.matrix(weights)) if free else self.bias())

    def install(self, candidate: Candidate) -> None:
        """Install weights and bias; if the layer has no bias, the norm's mean takes it."""
        refill(self.module, candidate.weights)
        bias = bias_of(last_piece(self.module))
        if bias is not None:
            bias.copy_(candidate.bias.flatten())
        elif self.norm is not None:
            mean = cast(Tensor, self.norm.running_mean)
            mean.sub_(candidate.bias.flatten().to(mean))

    @property
    def change(self) -> Affine:
        """Maps the teacher's output to the norm input that gives this network the same result."""
        ours = self.ours
        both, seen = self.theirs.then(ours.inverse()), ours.visible & self.theirs.visible
        return Affine(torch.where(seen, both.scale, 1.0), torch.where(seen, both.shift, 0.0))

    def metric(self, case: Case) -> Float64[Tensor, "groups out out"]:
        """``G`` at the outputs that are left, in this network's scale; identity without moments."""
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
        """The quadratic of the teacher's own moments, ``A`` and ``W A``, in this one's scale."""
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
        """Convert from the teacher's scale to this network's."""
        shape, change = self.layer.matrix_shape[:2], self.change
        scale, shift = change.scale.reshape(shape), change.shift.reshape(shape)
        left = scale[..., None]
        targets = left * q.targets * scale[:, None]
        return Quadratic(q.gram, left * q.cross, targets, q.x, scale * q.t).shifted(-shift)
