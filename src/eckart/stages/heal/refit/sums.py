"""Sums over rows for the least-squares fits of a layer, and their means as a quadratic."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from eckart.errors import NonFiniteError
from eckart.layers import oriented, piece_of, type_of
from eckart.running.masks import Masks, real_part
from eckart.stages.heal.channels import by_row


@dataclass(frozen=True)
class Quadratic:
    """Means over rows of inputs x and targets t.

    Attributes:
        gram: ``E[x xᵀ]``.
        cross: ``E[t xᵀ]``.
        targets: ``E[t tᵀ]``.
        x, t: means of the inputs and of the targets.
    """

    gram: Float64[Tensor, "groups in in"]
    cross: Float64[Tensor, "groups out in"]
    targets: Float64[Tensor, "groups out out"]
    x: Float64[Tensor, "groups in"]
    t: Float64[Tensor, "groups out"]

    def mixed(self, other: Quadratic, share: float) -> Quadratic:
        """``(1 − share)`` of this plus ``share`` of another."""
        pairs = ((getattr(self, k), getattr(other, k)) for k in self.__dict__)
        return Quadratic(*((1 - share) * mine + share * its for mine, its in pairs))

    def shifted(self, bias: Float64[Tensor, "groups out"]) -> Quadratic:
        """The quadratic of the targets ``t - bias``."""
        b, t = bias[..., None], self.t[..., None]
        targets = self.targets - b @ t.mT - t @ b.mT + b @ b.mT
        cross = self.cross - b @ self.x[:, None]
        return Quadratic(self.gram, cross, targets, self.x, self.t - bias)

    def centred(self) -> Quadratic:
        """The quadratic of inputs and targets minus their means, which a free bias takes up."""
        x, t = self.x[..., None], self.t[..., None]
        nothing = (torch.zeros_like(self.x), torch.zeros_like(self.t))
        grams = (self.gram - x @ x.mT, self.cross - t @ x.mT, self.targets - t @ t.mT)
        return Quadratic(*grams, *nothing)

    def free_bias(self, matrix: Float64[Tensor, "groups out in"]) -> Float64[Tensor, "groups out"]:
        """The best bias for a matrix."""
        return self.t - (matrix @ self.x[..., None])[..., 0]

    def loss(
        self, matrix: Float64[Tensor, "groups out in"], g: Float64[Tensor, "groups out out"]
    ) -> Float64[Tensor, ""]:
        """``½ E[(t − M x)ᵀ G (t − M x)]``, summed over groups."""
        spread = self.targets - 2 * self.cross @ matrix.mT + matrix @ self.gram @ matrix.mT
        return 0.5 * (g * spread).sum()


class Sums:
    """Streams batches into float64 sums; products are float32."""

    def __init__(self, layer: nn.Module) -> None:
        self._layer = copy.deepcopy(layer).float().requires_grad_(False)
        self._rows = 0
        self._total: list[Any] = [0.0] * 5

    def add(self, x: Tensor, t: Tensor, masks: Masks = ()) -> None:
        """Add a layer's inputs and targets of one batch, without the rows that are padding.

        Raises:
            NonFiniteError: either holds NaN or infinity.
        """
        kind, piece = type_of(self._layer), piece_of(self._layer)
        if kind is None:
            return
        groups, out, width = piece.matrix_shape
        if not piece.kernel:
            x, t = real_part(x, masks), real_part(t, masks)
        t = t.float()
        sums = kind.input_sums(self._layer, x)
        cross = self._cross(x.float(), t).reshape(groups, out, width)
        means = sums.total.reshape(groups, width), by_row(self._layer, t).sum(0)
        parts = [sums.gram, cross, kind.output_gram(self._layer, t), means[0]]
        for i, part in enumerate([*parts, means[1].reshape(groups, out)]):
            if not bool(torch.isfinite(part).all()):
                raise NonFiniteError("NaN or infinity in the inputs or targets of a layer")
            self._total[i] = self._total[i] + part.double()
        self._rows += sums.rows

    def _cross(self, x: Tensor, t: Tensor) -> Tensor:
        """``Σ t xᵀ``, for any geometry: the gradient of ``Σ t · layer(x)`` by the weight."""
        weight = cast(Tensor, self._layer.weight).detach().requires_grad_()
        with torch.enable_grad():
            y = torch.func.functional_call(self._layer, {"weight": weight}, (x,))
            return oriented(self._layer, torch.autograd.grad((y * t).sum(), weight)[0])

    def quadratic(self) -> Quadratic | None:
        """Means over rows; None if there are no rows."""
        return Quadratic(*(part / self._rows for part in self._total)) if self._rows else None
