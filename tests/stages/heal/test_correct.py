"""Correction gives every channel the mean and variance that it has in the teacher."""

import pytest
import torch
from torch import Tensor, nn

from eckart import heal
from eckart.running.hooks import amending
from eckart.stages.heal.channels import kept_channels
from stages.heal.networks import Residual, compressed, disturbed, images, settled
from stages.networks import mlp


def statistics(network: nn.Module, data: Tensor, names: list[str]) -> dict[str, list[Tensor]]:
    """Mean and standard deviation of each channel at some modules' outputs."""
    found = {}

    def see(name: str, module: nn.Module, output: Tensor) -> None:
        rows = output.movedim(1, -1).flatten(0, -2).double()
        found[name] = [rows.mean(0), rows.std(0)]

    with amending({n: network.get_submodule(n) for n in names}, see), torch.no_grad():
        network(data)
    return found


def corrected(student: nn.Module, teacher: nn.Module, data: Tensor) -> nn.Module:
    """The corrected network whatever its score; all data fit, in one batch."""
    count = iter(range(100))
    return heal(
        student,
        teacher,
        [data],
        treatments=["correct"],
        held_out=0.0,
        evaluate=lambda m: float(next(count)),
    ).model


@pytest.mark.parametrize("keep", [0.7, 0.5])
def test_norms_give_what_they_gave(keep: float):
    data = images()
    teacher = settled(Residual(), data)
    student = compressed(teacher, data, keep).model
    healed, names = corrected(student, teacher, data), ["norm", "norm1", "norm2", "head"]
    theirs, ours, before = (statistics(m, data, names) for m in (teacher, healed, student))
    for name in names:
        rows = kept_channels(student.eckart_plan, teacher, name).rows
        wanted = [t if rows is None else t[rows] for t in theirs[name]]
        torch.testing.assert_close(ours[name], wanted, rtol=1e-3, atol=1e-3)
    assert any(not torch.allclose(before[n][1], ours[n][1], rtol=1e-2) for n in names)


def test_without_norms_rows_and_biases_are_corrected():
    data = torch.randn(200, 6)
    teacher = mlp(6, 8, 3).eval()
    healed = corrected(disturbed(teacher), teacher, data)
    ours, theirs = (statistics(m, data, ["0", "2"]) for m in (healed, teacher))
    for name in ("0", "2"):
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-4)


def test_what_is_right_already_stays():
    data = images()
    teacher = settled(Residual(), data)
    healed = corrected(teacher, teacher, data)
    for ours, theirs in zip(healed.parameters(), teacher.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_dead_channel_is_not_blown_up():
    data = torch.randn(200, 6)
    teacher = mlp(6, 8, 3).eval()
    student = disturbed(teacher)
    with torch.no_grad():
        student[0].weight[2] = 0.0
    healed = corrected(student, teacher, data)
    assert torch.equal(healed[0].weight[2], torch.zeros(6))
    assert all(torch.isfinite(p).all() for p in healed.parameters())


def test_nothing_to_correct_is_skipped_and_said():
    network = nn.Sequential(nn.Linear(4, 5, bias=False), nn.ReLU(), nn.Linear(5, 3, bias=False))
    healed = heal(network, network, [torch.randn(30, 4)], treatments=["correct"])
    assert healed.log[-1].note == "skipped: no batch norm and no bias to correct"
