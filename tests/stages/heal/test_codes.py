"""Networks in codes of few bits are healed: scales, biases and norms move, codes do not."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from eckart import Budget, allocate, apply, calibrate, curves, heal, load, save
from eckart.layers import FewBits, piece_of, rebuild, weight_from
from eckart.linalg.rounding import Grid, Rounded
from eckart.records import Form, Piece
from stages.heal.networks import Residual, images, settled
from stages.heal.test_correct import corrected, statistics

CLOSE = {"rtol": 1e-2, "atol": 1e-2}


def in_codes(teacher: nn.Module, data: Tensor, bits: int) -> nn.Module:
    """Every layer in codes of a width."""
    moments = calibrate(teacher, [data])
    found = curves(teacher, moments, methods=["rounding"], bits=[bits])
    least = sum(min(o.form.stored_bytes(4) for o in c.options) for c in found.curves)
    dense = sum(spec.dense.stored_bytes(4) for spec in moments.specs.values())
    whole = moments.model_costs["bytes"]
    return apply(teacher, allocate(found, Budget(bytes=whole - dense + least)), moments)


def coded(network: nn.Module) -> list[FewBits]:
    return [module for module in network.modules() if isinstance(module, FewBits)]


def perceptron() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 3)).eval()


def test_distilled_scales_bring_a_network_nearer_to_its_teacher(tmp_path):
    teacher, data = perceptron(), torch.randn(256, 6, generator=torch.Generator().manual_seed(1))
    student = in_codes(teacher, data, 2)
    before = [layer.codes.clone() for layer in coded(student)]
    scales = [layer.scale.clone() for layer in coded(student)]

    def far(network: nn.Module) -> float:
        with torch.no_grad():
            return float((network(data) - teacher(data)).square().mean())

    batches = list(data.split(32))
    healed = heal(
        student, teacher, batches, treatments=["distil"], steps=200, evaluate=lambda m: -far(m)
    ).model
    assert far(healed) < 0.9 * far(student)
    assert all(
        torch.equal(layer.codes, old) for layer, old in zip(coded(healed), before, strict=True)
    )
    moved = [not torch.equal(m.scale, old) for m, old in zip(coded(healed), scales, strict=True)]
    assert moved == [True, True]
    assert {layer.scale.dtype for layer in coded(healed)} == {torch.float16}
    assert healed.state_dict().keys() == student.state_dict().keys()
    save(healed, tmp_path)
    assert torch.equal(load(perceptron(), tmp_path)(data), healed(data))


def test_gradients_reach_scales_through_their_rounding():
    teacher, data = perceptron(), torch.randn(64, 6)
    layer = coded(in_codes(teacher, data, 3))[0]
    free = copy.deepcopy(layer)
    free.free_scales()
    assert torch.equal(free.weight, layer.weight)
    free.weight.square().sum().backward()
    expected = 2 * (layer.weight / layer.scale[0].float()).square().sum(1) * layer.scale.flatten()
    torch.testing.assert_close(free.scale.grad.flatten(), expected, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        free.scale += 1e-6  # less than half a step of float16
    assert torch.equal(free.weight, layer.weight)
    free.store_scales()
    assert torch.equal(free.scale, layer.scale)


def test_frozen_weights_keep_their_scales():
    teacher, data = perceptron(), torch.randn(64, 6)
    teacher[0].weight.requires_grad_(False)
    student = in_codes(teacher, data, 2)
    score = iter(range(100))
    healed = heal(
        student,
        teacher,
        [data],
        treatments=["distil"],
        steps=10,
        held_out=0.0,
        evaluate=lambda m: float(next(score)),
    ).model
    same = [
        torch.equal(a.scale, b.scale) for a, b in zip(coded(healed), coded(student), strict=True)
    ]
    assert same == [True, False]


def test_rows_in_codes_are_corrected_by_their_scales():
    teacher, data = perceptron(), torch.randn(2000, 6)
    student = in_codes(teacher, data, 2)
    healed = corrected(student, teacher, data)
    ours, theirs, before = (statistics(m, data, ["0", "2"]) for m in (healed, teacher, student))
    for name in ("0", "2"):
        torch.testing.assert_close(ours[name], theirs[name], **CLOSE)
        assert not torch.allclose(torch.stack(before[name]), torch.stack(theirs[name]), **CLOSE)


def test_norms_after_codes_are_corrected():
    data = images()
    teacher = settled(Residual(), data)
    student = in_codes(teacher, data, 2)
    healed = corrected(student, teacher, data)
    ours, theirs = (statistics(m, data, ["norm", "norm2", "head"]) for m in (healed, teacher))
    for name in ("norm", "norm2", "head"):
        torch.testing.assert_close(ours[name], theirs[name], **CLOSE)


def test_refit_refuses_what_is_in_codes_and_says_what_to_do():
    teacher, data = perceptron(), torch.randn(64, 6)
    student = in_codes(teacher, data, 4)
    said = str(heal(student, teacher, [data] * 4, treatments=["refit"]))
    for text in ("skipped", "are in codes", "use 'correct' or 'distil'", "eckart.merge"):
        assert text in said


@pytest.mark.parametrize(
    ("layer", "span"),
    [
        (nn.Linear(10, 4), 0),
        (nn.Linear(10, 4), 3),
        (nn.Conv2d(4, 6, 3, groups=2), 0),
        (nn.ConvTranspose2d(4, 6, 2, groups=2), 0),
    ],
)
def test_the_nearest_scales_of_a_weight(layer: nn.Module, span: int):
    torch.manual_seed(0)
    piece: Piece = replace(piece_of(layer), bits=3, span=span)
    codes = torch.randint(0, 8, piece.matrix_shape, dtype=torch.uint8)
    grid = Grid((0.5 + torch.rand(piece.scales)).half(), None, 3, span or piece.matrix_shape[2])
    part = rebuild(layer, Form((piece,)), [Rounded(codes, grid, 0.0)])[0]
    wanted = Grid((0.5 + torch.rand(piece.scales)).half(), None, 3, grid.span)
    part.take(weight_from(wanted.values(codes), piece))
    assert torch.equal(part.scale, wanted.scale)
    near = part.weight + 0.01 * torch.randn_like(part.weight)
    part.take(near)
    best = float((part.weight - near).square().sum())
    for factor in (0.999, 1.001):
        part.scale = (part.scale.float() * factor).half()
        assert float((part.weight - near).square().sum()) > best
        part.take(near)
