"""What distillation is made of: losses, passes over the data, the schedule."""

from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from eckart.errors import InputError
from eckart.stages.heal.distil.data_passes import passes
from eckart.stages.heal.distil.objectives import Imitation, TaskLoss
from eckart.stages.heal.distil.training import Recipe, Training, sizes_of
from random_moments import normal


class Constant(nn.Module):
    """Gives the same outputs whatever comes in."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, x):
        return self.outputs


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
@pytest.mark.parametrize("shape", [(6, 5), (2, 3, 5), (2, 5, 3, 4)])
def test_imitation_is_the_divergence_by_its_definition(temperature, shape):
    ours, theirs = normal(*shape, seed=1), normal(*shape, seed=2)
    found = Imitation(temperature)(ours, torch.zeros(1), Constant(theirs))
    axis = 1 if len(shape) != 3 else 2
    q, p = ((z / temperature).softmax(axis) for z in (ours, theirs))
    expected = temperature**2 * (p * (p / q).log()).sum(axis).mean()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(6, 5), (6, 1), (6,)])
def test_at_the_teacher_loss_and_gradient_are_zero(shape):
    theirs = normal(*shape, seed=0)
    ours = theirs.clone().requires_grad_()
    loss = Imitation()(ours, torch.zeros(1), Constant(theirs))
    loss.backward()
    torch.testing.assert_close(
        loss.detach().double(), torch.tensor(0.0).double(), rtol=0, atol=1e-6
    )
    torch.testing.assert_close(ours.grad, torch.zeros_like(theirs), rtol=0, atol=1e-6)


def test_outputs_without_classes_are_compared_relative_to_the_teacher():
    theirs, ours = torch.tensor([[3.0], [4.0]]), torch.tensor([[3.5], [4.0]])
    loss = Imitation()(ours, torch.zeros(1), Constant(theirs))
    torch.testing.assert_close(loss, torch.tensor(0.5 * 0.125 / 12.5))
    scaled = Imitation()(10 * ours, torch.zeros(1), Constant(10 * theirs))
    torch.testing.assert_close(scaled, loss)
    assert Imitation()(ours, torch.zeros(1), Constant(0 * theirs)).isfinite()


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_a_temperature_is_positive(temperature):
    with pytest.raises(InputError, match="temperature"):
        Imitation(temperature)


def test_the_task_loss_is_cross_entropy_at_every_position():
    logits, targets = normal(2, 3, 5, seed=0), torch.tensor([[0, 4, 2], [1, 1, 3]])
    found = TaskLoss()(logits, (None, targets), Constant(None))
    expected = -logits.log_softmax(2).gather(2, targets[..., None]).mean()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


def test_the_task_loss_without_classes_is_half_the_squared_error():
    found = TaskLoss()(
        torch.tensor([[1.0], [2.0]]), (None, torch.tensor([[1], [4]])), Constant(None)
    )
    torch.testing.assert_close(found, torch.tensor(1.0))


def loader():
    return DataLoader(TensorDataset(torch.arange(14.0)), batch_size=4, shuffle=True)


@pytest.mark.parametrize("taken", [1, 3, 4, 5, 9])
def test_passes_go_on_where_they_were(taken):
    whole = [batch[0] for _, batch in islice(passes(loader(), 3), 12)]
    begun = [begun for begun, _ in islice(passes(loader(), 3), 12)]
    assert begun == [0] * 4 + [4] * 4 + [8] * 4
    rest = [
        batch[0] for _, batch in islice(passes(loader(), 3, taken, begun[taken - 1]), 12 - taken)
    ]
    for left, right in zip(whole[taken:], rest, strict=True):
        assert torch.equal(left, right)


def test_passes_differ_from_each_other_and_hold_every_example():
    batches = [batch[0] for _, batch in islice(passes(loader(), 0), 8)]
    one, two = torch.cat(batches[:4]), torch.cat(batches[4:])
    assert not torch.equal(one, two)
    assert sorted(one.tolist()) == sorted(two.tolist()) == list(range(14))


def test_data_that_can_be_read_once_are_said():
    once = iter([torch.zeros(1)])
    with pytest.raises(InputError, match="began with step 1 gave no batch"):
        list(islice(passes(once, 0), 2))


@given(steps=st.integers(1, 400), warm_up=st.floats(0, 0.9))
def test_the_rate_rises_to_its_peak_and_falls(steps, warm_up):
    recipe = Recipe(rate=2.0, warm_up=warm_up)
    rates = [recipe.rate_at(step, steps) for step in range(steps)]
    assert all(0 < rate <= 2.0 for rate in rates)
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert max(rates) == 2.0
    if steps >= 20 and warm_up <= 0.5:
        assert rates[-1] < 0.05 * 2.0


@pytest.mark.parametrize("values", [{"rate": 0.0}, {"clip": -1.0}, {"warm_up": 1.0}])
def test_a_recipe_that_makes_no_sense_is_refused(values):
    with pytest.raises(InputError, match="rate and clip are positive"):
        Recipe(**values)


def test_a_start_without_loss_is_no_divergence():
    """Rounding may even make the loss of a network that equals its teacher negative."""
    network, x = nn.Linear(3, 4), normal(8, 3, seed=3).float()
    training = Training(network, Recipe(), 20, sizes_of(network))
    fine = [training.make_step(x, network, Imitation()) for _ in range(20)]
    assert all(fine)
    assert training.step == 20
