"""The expected losses of a trained network's layers, against those that rounding leaves."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from eckart import calibrate
from eckart.linalg.rounding import Triangle, choose_grid, round_weight, triangle
from eckart.methods import problem_of

trained = pytest.importorskip("benchmarks.subjects.trained")
data = pytest.importorskip("benchmarks.subjects.data")

DAMPING = 1e-2
Layer = tuple[Tensor, Triangle, Triangle]


@pytest.fixture(scope="module")
def layers(data_root: Path) -> list[Layer]:
    """Every third convolution of a ResNet-20 with its moments."""
    model = trained.load_resnet(data_root)
    images, _ = data.cifar10(data_root, "train", 32)
    names = [name for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)][::3]
    moments = calibrate(model, [images], layers=names, progress=False)
    found = [problem_of(model.get_submodule(name), name, moments, DAMPING) for name in names]
    return [(p.weight, triangle(p.a), triangle(p.g)) for p in found]


@pytest.mark.parametrize("span", [None, 64])
@pytest.mark.parametrize(
    ("bits", "least", "most"), [(2, 0.5, 1.5), (3, 0.6, 1.25), (4, 0.8, 1.2), (6, 0.8, 1.2)]
)
def test_losses_are_known_before_anything_is_rounded(
    layers: list[Layer], bits: int, least: float, most: float, span: int | None
):
    pairs = []
    for weight, a, g in layers:
        choice = choose_grid(weight, bits, span, a=a, g=g)
        pairs.append((choice.loss, round_weight(weight, choice.grid, a=a, g=g).loss))
    ratios = torch.tensor([expected / measured for expected, measured in pairs])
    assert ratios.min() > least
    assert ratios.max() < most
    assert ratios.log().mean().exp() == pytest.approx(1, abs=0.1 if bits > 3 else 0.25)


def test_each_step_of_the_rounding_pays(layers: list[Layer]):
    """In this order: to nearest, feedback under A, under both, in the best order."""
    totals = torch.zeros(4)
    for weight, a, g in layers:
        given = [triangle(_moment(side), ordered=False) for side in (a, g)]
        for at, sides in enumerate([{}, {"a": given[0]}, dict(zip("ag", given, strict=True))]):
            found = round_weight(weight, choose_grid(weight, 4, **sides).grid, **sides)
            lost = weight - found.weight
            totals[at] += 0.5 * float(((_moment(g) @ lost @ _moment(a)) * lost).sum())
        grid = choose_grid(weight, 4, a=a, g=g).grid
        totals[3] += round_weight(weight, grid, a=a, g=g).loss
    assert (totals[1:] < 0.95 * totals[:-1]).all(), totals
    assert totals[3] < 0.15 * totals[0]  # measured: 0.094


def _moment(side: Triangle) -> Tensor:
    """L D Lᵀ in the order of the variables."""
    ordered = side.lower * side.diagonal[:, None] @ side.lower.mT
    back = side.order.argsort(-1)[0]
    return ordered[:, back][:, :, back]
