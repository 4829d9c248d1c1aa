"""Healing sees every output of a network, and knows numbers from classes where targets show it."""

import copy

import pytest
import torch
from torch import Tensor, nn

from eckart import heal
from eckart.errors import InputError
from eckart.stages.heal.closeness import closeness
from eckart.stages.heal.distil.objectives import Imitation

X = torch.randn(48, 6, generator=torch.Generator().manual_seed(0))


class TwoHeads(nn.Module):
    """Classes and boxes from one body."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(6, 16), nn.ReLU())
        self.classes, self.boxes = nn.Linear(16, 5), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.body(x)
        return {"logits": self.classes(x), "boxes": 100 * self.boxes(x)}


def without_boxes(network: TwoHeads) -> TwoHeads:
    changed = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in changed.boxes.parameters():
            parameter.zero_()
    return changed


def test_each_output_counts_and_none_drowns_the_others():
    teacher = TwoHeads().eval()
    judge = closeness(teacher, [X[:40], X[40:]])
    assert judge(teacher).value == pytest.approx(0.0, abs=1e-6)
    found = judge(without_boxes(teacher))
    assert found.value == pytest.approx(0.5, abs=1e-6)
    assert found.n == 48
    loss = Imitation()(without_boxes(teacher)(X), X, teacher)
    torch.testing.assert_close(loss, torch.tensor(0.5))


def test_a_head_that_is_not_the_first_is_healed():
    teacher = TwoHeads().eval()
    student = without_boxes(teacher)
    healed = heal(student, teacher, [X], treatments=["correct"])
    assert healed.after.value < 0.4 < healed.before.value


@torch.no_grad()
def test_targets_that_are_numbers_say_that_no_softmax_follows():
    """A common shift of all outputs is an error of a regression, and none of a classifier."""
    teacher = nn.Linear(6, 3).eval()
    shifted = copy.deepcopy(teacher)
    shifted.bias += 1
    classes, numbers = torch.zeros(48, dtype=torch.int64), torch.randn(48, 3)
    assert closeness(teacher, [(X, classes)])(shifted).value == pytest.approx(0.0, abs=1e-6)
    scale = teacher(X).square().sum(1).mean()
    expected = float(0.5 * 3 / scale)
    assert closeness(teacher, [(X, numbers)])(shifted).value == pytest.approx(expected, rel=1e-4)
    found = Imitation()(shifted(X), (X, numbers), teacher)
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_another_shape_is_refused_wherever_it_is():
    teacher, student = TwoHeads().eval(), TwoHeads().eval()
    student.boxes = nn.Linear(16, 3)
    with pytest.raises(InputError, match="at boxes: pass the dense network"):
        closeness(teacher, [X])(student)
