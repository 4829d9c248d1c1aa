"""ResNet-18 with two convolutions cut before training, and the ways to cut it afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

import eckart
from study_kit.images import Images

CUT = {"layer1.0.conv1": 8, "layer1.0.conv2": 8}
METHODS = ("weighted_svd", "spatial")
CALIBRATION = 1000  # images
COURSE = "cut before training, put in place (the notebook)"
FACTORS = "cut before training, trained as factors"
OURS = "**eckart** after training, whole network, as many parameters"


def resnet18(blocks: int = 2) -> nn.Module:
    """Torchvision's, with so many blocks at each of its four widths; ResNet-18 has two."""
    return ResNet(BasicBlock, [blocks] * 4, num_classes=10)


def as_factors(blocks: int = 2) -> nn.Module:
    """The two convolutions at rank 8, each as 3×3 to 8 channels, then 1×1."""
    return eckart.factorize(resnet18(blocks), CUT)


def in_place(blocks: int = 2) -> nn.Module:
    """The two weights replaced by their rank-8 matrices; every shape is as it was."""
    return eckart.merge(as_factors(blocks))


STARTS = {"in place": in_place, "factors": as_factors, "not cut": resnet18}


class Network:
    """The trained network, the data, and its moments and options."""

    def __init__(
        self, trained: nn.Module, train: Images, test: Images, untouched: Sequence[str]
    ) -> None:
        self.untouched = untouched
        self.trained, self.train, self.test = trained, train, test

    @cached_property
    def moments(self) -> eckart.Moments:
        calibration = self.train.first(CALIBRATION).in_batches(50)
        return eckart.calibrate(self.trained, calibration, progress=False)

    def options(self, *methods: str) -> eckart.Curves:
        """Every option of these methods."""
        return eckart.curves(
            self.trained, self.moments, methods=methods, dense=self.untouched, progress=False
        )

    @cached_property
    def factors(self) -> eckart.Curves:
        """Low rank and spatial options; removal of channels takes minutes on 4,608 columns."""
        return self.options(*METHODS)

    def at_most(self, params: float) -> nn.Module:
        """Eckart's best network within a fraction, or a number, of the parameters."""
        plan = eckart.allocate(self.factors, eckart.Budget(params=params))
        return eckart.apply(self.trained, plan, self.moments)

    def cut(self) -> dict[str, nn.Module]:
        """The two convolutions cut to rank 8 now, and eckart's answer of the same size."""
        stored = eckart.factorize(self.trained, CUT)
        weighted = eckart.factorize(self.trained, CUT, init="weighted", moments=self.moments)
        size = sum(parameter.numel() for parameter in stored.parameters())
        return {
            "cut after training: SVD": stored,
            "cut after training: weighted by A and G": weighted,
            OURS: self.at_most(size),
        }


def spectrum(network: nn.Module) -> tuple[list[int], list[float]]:
    """Of the two weights: the rank, and the share of the squared norm in the first 8 directions."""
    whole = dict(eckart.merge(network).named_modules())
    weights = [whole[name].weight.detach().flatten(1) for name in CUT]
    squares = [torch.linalg.svdvals(weight).square() for weight in weights]
    ranks = [int(torch.linalg.matrix_rank(weight)) for weight in weights]
    return ranks, [float(s[:8].sum() / s.sum()) for s in squares]
