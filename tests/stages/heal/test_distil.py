"""Distillation makes students better, leaves the rest of the world alone, and says what it did."""

import copy
from itertools import count

import pytest
import torch
from torch import nn

from eckart import Score, accuracy, heal
from eckart.errors import InputError
from eckart.stages.heal import TREATMENTS
from eckart.stages.heal.distil import Distil
from eckart.stages.heal.distil.training import Recipe
from stages.heal.distilling import distance, labelled, shuffled, student_of, teacher_network


@pytest.fixture
def teacher():
    return teacher_network()


@pytest.fixture
def student(teacher):
    return student_of(teacher)


@pytest.fixture
def batches(teacher):
    return labelled(teacher)


@pytest.fixture
def register(monkeypatch):
    """Make a treatment known for one test."""

    def known(treatment: Distil) -> list[str]:
        monkeypatch.setitem(TREATMENTS, treatment.name, treatment)
        return [treatment.name]

    return known


def tensors(model):
    return {name: t.clone() for name, t in model.state_dict().items()}


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def scored(student, teacher, batches, scores):
    """Healed with the scores that are given, whatever the network."""
    given = iter(scores)
    return heal(
        student,
        teacher,
        batches,
        treatments=["distil"],
        steps=50,
        evaluate=lambda model: next(given),
    )


def test_a_student_gets_nearer_to_its_teacher(teacher, student, batches):
    evaluate = distance(teacher, labelled(teacher))
    healed = heal(
        student, teacher, shuffled(batches), treatments=["distil"], steps=150, evaluate=evaluate
    )
    assert evaluate(healed.model).value < 0.7 * evaluate(student).value
    assert healed.after.value == evaluate(healed.model).value
    assert [step.treatment for step in healed.log] == ["start", *["distil"] * 10]


def test_a_student_learns_labels(teacher, student, batches):
    evaluate = accuracy(labelled(teacher))
    healed = heal(
        student, teacher, shuffled(batches), treatments=["finetune"], steps=150, evaluate=evaluate
    )
    assert evaluate(healed.model).value > evaluate(student).value + 0.05


def test_networks_random_state_and_mode_are_left_alone(teacher, student, batches):
    student.train()
    before, dense, state = tensors(student), tensors(teacher), torch.get_rng_state()
    healed = heal(student, teacher, shuffled(batches), treatments=["distil"], steps=20)
    assert_same(tensors(student), before)
    assert_same(tensors(teacher), dense)
    assert torch.equal(torch.get_rng_state(), state)
    assert healed.model is not student
    assert all(module.training for module in healed.model.modules())
    assert all(p.grad is None for net in (student, teacher) for p in net.parameters())


def test_the_default_is_two_passes_over_the_fitting_part(teacher, student, batches):
    healed = heal(student, teacher, batches, treatments=["distil"])
    assert healed.log[-1].note == "step 12 of 12"


def test_frozen_parameters_and_statistics_stay(teacher, student, batches):
    student[0].weight.requires_grad_(False)
    student[1].bias.requires_grad_(False)
    before = tensors(student)
    healed = heal(student, teacher, batches, treatments=["distil"], steps=60)
    after = tensors(healed.model)
    for name in ("0.weight", "1.bias", "1.running_mean", "1.running_var"):
        assert torch.equal(after[name], before[name]), name
    for name in ("0.bias", "1.weight", "4.weight", "4.bias"):
        assert not torch.equal(after[name], before[name]), name
    assert [p.requires_grad for p in healed.model.parameters()] == [
        p.requires_grad for p in student.parameters()
    ]


def test_dropout_is_off_as_in_the_teacher(batches, teacher):
    dropped = teacher_network(dropout=0.9)
    dropped.load_state_dict(teacher.state_dict())
    start = student_of(dropped)
    plain = copy.deepcopy(start)
    plain[3] = nn.Dropout(0.0)
    one, two = (heal(s, teacher, batches, treatments=["distil"], steps=9) for s in (start, plain))
    assert_same(tensors(one.model), tensors(two.model))


@pytest.mark.parametrize("size", [1, 7])
def test_batches_of_dictionaries_and_of_one_example(size):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = teacher_network()

        def forward(self, x):
            return {"logits": self.net(x)}

    teacher = Named().eval()
    student = student_of(teacher)
    data = [{"x": x} for x in torch.randn(42, 6).split(size)]
    healed = heal(student, teacher, data, treatments=["distil"], steps=60)
    assert healed.after.value < healed.before.value


def test_outputs_without_classes():
    teacher = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 1))
    student = student_of(teacher)
    data = list(torch.randn(120, 6).split(20))
    healed = heal(student, teacher, data, treatments=["distil"], steps=100)
    assert healed.after.value < 0.7 * healed.before.value


def test_a_student_that_is_the_teacher_stays_as_it_is(teacher, batches):
    healed = heal(teacher, teacher, batches, treatments=["distil"], steps=30)
    assert_same(tensors(healed.model), tensors(teacher))
    assert "nothing helped" in str(healed)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda net: net.requires_grad_(False), "no parameter of the network requires a gradient"),
        (lambda net: net.bfloat16(), "gradient steps need float32 and the network has torch.bf"),
    ],
)
def test_what_cannot_be_trained_is_skipped_with_its_reason(change, reason, teacher, student):
    data = [x.to(torch.float32) for x in torch.randn(40, 6).split(10)]
    student, dense = change(student), copy.deepcopy(teacher)
    if next(student.parameters()).dtype is torch.bfloat16:
        data, dense = [x.bfloat16() for x in data], dense.bfloat16()
    healed = heal(student, dense, data, treatments=["distil"])
    assert reason in str(healed)
    assert_same(tensors(healed.model), tensors(student))


def test_rates_that_diverge_are_rolled_back_and_said(teacher, student, batches, register):
    names = register(Distil("wild", recipe=Recipe(rate=1e4)))
    healed = heal(student, teacher, batches, treatments=names, steps=40)
    notes = [step.note for step in healed.log if "diverged" in step.note]
    assert len(notes) == 4
    assert "back to the best network, continuing at a rate of 2.5e+03" in notes[0]
    assert notes[-1].endswith("gave up")
    assert healed.after.value <= healed.before.value


def test_a_run_goes_on_at_a_smaller_rate(teacher, student, batches, register):
    names = register(Distil("bold", recipe=Recipe(rate=10.0, warm_up=0.0)))
    healed = heal(student, teacher, batches, treatments=names, steps=200)
    assert any("diverged" in step.note for step in healed.log)
    assert healed.log[-1].note == "step 200 of 200"
    assert healed.after.value < healed.before.value


def test_what_is_not_finite_is_noticed(teacher, student, batches, register):
    class Infinite:
        def __call__(self, outputs, batch, teacher):
            return outputs.sum() * float("nan")

    names = register(Distil("broken", objective=Infinite()))
    healed = heal(student, teacher, batches, treatments=names, steps=20)
    assert "gave up" in str(healed)
    assert_same(tensors(healed.model), tensors(student))


def test_a_run_that_only_gets_worse_ends_early(teacher, student, batches):
    healed = scored(student, teacher, batches, [-i for i in range(11)])
    assert healed.log[-1].note == "stopped at step 20: worse at 3 checks in a row"
    assert_same(tensors(healed.model), tensors(student))


def test_a_run_that_is_worse_while_its_steps_are_large_goes_on(teacher, student, batches):
    healed = scored(student, teacher, batches, [0, -1, -5, -6, -5, -4, -3, -2, -1, 0, 1])
    assert [step.accepted for step in healed.log] == [*[False] * 10, True]
    assert healed.log[-1].note == "step 50 of 50"


def test_an_evaluation_that_gives_nan_is_said(teacher, student, batches):
    scores = iter([0.0, float("nan")])
    with pytest.raises(InputError, match="score must be finite"):
        heal(student, teacher, batches, treatments=["distil"], evaluate=lambda m: next(scores))


@pytest.mark.parametrize("call", [2, 5, 11])
def test_control_c_in_an_evaluation_keeps_the_best(call, teacher, student, batches):
    calls = count(1)

    def evaluate(model):
        number = next(calls)
        if number == call:
            raise KeyboardInterrupt
        return Score(float(number))

    healed = heal(student, teacher, batches, treatments=["distil"], steps=20, evaluate=evaluate)
    assert healed.log[-1].note == "interrupted"
    assert healed.after.value == call - 1


@pytest.mark.parametrize("read", [15, 25, 60])
def test_control_c_in_a_batch_keeps_the_best(read, teacher, student, batches):
    class Interrupted:
        reads = 0

        def __iter__(self):
            for batch in batches:
                self.reads += 1
                if self.reads == read:
                    raise KeyboardInterrupt
                yield batch

    evaluate = distance(teacher, labelled(teacher))
    healed = heal(
        student, teacher, Interrupted(), treatments=["distil"], steps=60, evaluate=evaluate
    )
    assert healed.log[-1].note == "interrupted"
    assert evaluate(healed.model).value <= evaluate(student).value


def test_labels_that_do_not_fit_are_said(teacher, student, batches):
    with pytest.raises(InputError, match=r"needs batches of \(inputs, targets\)"):
        heal(student, teacher, [x for x, _ in batches], treatments=["finetune"])
    wide = [(x, y[:, None]) for x, y in batches]
    with pytest.raises(InputError, match="expected targets of shape"):
        heal(student, teacher, wide, treatments=["finetune"])
    many = [(x, y + 4) for x, y in batches]
    with pytest.raises(InputError, match="the data have more classes"):
        heal(student, teacher, many, treatments=["finetune"])
