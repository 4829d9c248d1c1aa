"""What is tried is judged, the best is kept, and what cannot be used is refused."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from eckart import Score, calibrate, compress, heal
from eckart.errors import InputError, MismatchError, NonFiniteError
from eckart.stages import heal as package
from eckart.stages.heal import TREATMENTS, register_treatment
from eckart.stages.heal.closeness import closeness
from eckart.stages.heal.parts import parted
from stages.channel_networks import KNOWN
from stages.heal.networks import Residual, compressed, disturbed, images, settled
from stages.networks import mlp

SMALL = [
    "linear",
    "flattened",
    "pooled",
    "residual",
    "concatenated",
    "separable",
    "padded",
    "PReLU",
]


class Propose:
    """Offers networks that it was given."""

    name = "propose"

    def __init__(self, *networks: nn.Module, then: BaseException | None = None) -> None:
        self.networks, self.then = networks, then

    def needs(self, case) -> str | None:
        return None if self.networks else "nothing to propose"

    def treat(self, case) -> None:
        for i, network in enumerate(self.networks):
            case.offer(network, f"network {i}")
        if self.then:
            raise self.then


@pytest.fixture
def proposing():
    """Registers a treatment for one test."""
    before = dict(TREATMENTS)
    yield register_treatment
    TREATMENTS.clear()
    TREATMENTS.update(before)


@pytest.fixture
def teacher():
    return mlp(6, 8, 3).eval()


DATA = [torch.randn(40, 6, generator=torch.Generator().manual_seed(i)) for i in range(3)]


@pytest.mark.parametrize(("name", "keep"), list(zip(SMALL, [0.7, 0.4] * 4, strict=True)))
def test_the_result_is_never_worse_than_what_was_handed_in(name: str, keep: float):
    teacher, data = KNOWN[name].network(), [KNOWN[name].batch(40) for _ in range(2)]
    smaller = compress(teacher, data, keep=keep, latency=False, progress=False)
    size = sum(p.numel() for p in smaller.model.parameters())
    healed = heal(smaller.model, teacher, data, moments=smaller.moments)
    judge = closeness(teacher, parted(data, teacher, 0.2).held_out)
    before, after = judge(smaller.model), judge(healed.model)
    assert (before, after) == (healed.before, healed.after)
    assert after.value <= before.value
    assert sum(p.numel() for p in healed.model.parameters()) == size


def test_healing_makes_a_residual_network_better_and_changes_neither_network():
    data = images()
    teacher = settled(Residual(), data)
    smaller = compressed(teacher, data)
    smaller.model.train()
    smaller.model.head.bias.requires_grad_(False)
    before = [copy.deepcopy(net.state_dict()) for net in (teacher, smaller.model)]
    state = torch.random.get_rng_state()
    healed = heal(smaller.model, teacher, list(data.split(32)), moments=smaller.moments)
    assert torch.equal(state, torch.random.get_rng_state())
    assert healed.after.value < 0.7 * healed.before.value
    assert healed.model is not smaller.model
    for net, state_dict in zip((teacher, smaller.model), before, strict=True):
        assert all(torch.equal(net.state_dict()[k], v) for k, v in state_dict.items())
    assert healed.model.training
    assert not healed.model.head.bias.requires_grad
    assert healed.model.conv1 is not smaller.model.conv1
    assert not teacher.training


def test_nothing_better_gives_the_very_network_back_and_says_so(teacher, proposing):
    proposing(Propose(copy.deepcopy(teacher), disturbed(teacher)))
    healed = heal(teacher, teacher, DATA, treatments=["propose"])
    assert healed.model is teacher
    assert "nothing helped" in str(healed)
    assert [step.accepted for step in healed.log] == [False, False, False]


def test_the_best_is_kept_as_it_was_when_it_was_offered(teacher, proposing):
    start, better = disturbed(teacher, 1.0), copy.deepcopy(teacher)
    proposing(Propose(better, disturbed(teacher)))
    healed = heal(start, teacher, DATA, treatments=["propose"])
    with torch.no_grad():
        better[0].weight.zero_()
    assert torch.equal(healed.model[0].weight, teacher[0].weight)
    assert "propose (network 0)" in str(healed)
    assert "lower is better, n = 24" in str(healed)


def test_a_gain_within_its_own_error_is_none(teacher, proposing):
    proposing(Propose(copy.deepcopy(teacher)))
    samples = iter([torch.tensor([0.0, 1.0, 0.0, 1.0]), torch.tensor([1.0, 0.0, 0.0, 1.1])])

    def evaluate(model: nn.Module) -> Score:
        drawn = next(samples)
        return Score(float(drawn.mean()), 4, samples=drawn)

    healed = heal(teacher, teacher, DATA, treatments=["propose"], evaluate=evaluate)
    assert healed.after.value == 0.5


def test_ctrl_c_gives_the_best_so_far(teacher, proposing):
    proposing(Propose(copy.deepcopy(teacher), then=KeyboardInterrupt()))
    healed = heal(disturbed(teacher), teacher, DATA, treatments=["propose", "correct"])
    assert torch.equal(healed.model[0].weight, teacher[0].weight)
    assert healed.log[-1].note == "interrupted"


def test_outputs_that_are_not_finite_are_not_better_and_an_evaluation_that_is_not_is_refused(
    teacher, proposing
):
    broken = copy.deepcopy(teacher)
    with torch.no_grad():
        broken[0].weight.fill_(torch.nan)
    proposing(Propose(broken))
    healed = heal(teacher, teacher, DATA, treatments=["propose"])
    assert "not finite" in healed.log[-1].note
    assert healed.model is teacher
    with pytest.raises(InputError, match="the evaluation returned nan"):
        heal(teacher, teacher, DATA, treatments=["propose"], evaluate=lambda m: float("nan"))


def test_the_log_is_a_table_and_json(teacher, proposing):
    proposing(Propose())
    healed = heal(teacher, teacher, DATA, treatments=["propose"])
    assert "skipped: nothing to propose" in healed.table()
    steps = json.loads(healed.dumps())
    assert [step["treatment"] for step in steps] == ["start", "propose"]
    assert steps[0]["score"]["n"] == 24
    assert "skipped" in str(healed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batches": iter(DATA)}, "only once: pass a list"),
        ({"batches": []}, "the loader gave no batch"),
        ({"batches": [DATA[0][:1]]}, "too few to hold some out"),
        ({"treatments": ["correct", "pray"]}, "unknown treatment 'pray'; known: correct"),
        ({"treatments": []}, "treatments is empty"),
        ({"held_out": 1.0}, "held_out=1.0"),
        ({"held_out": 0.0}, "give evaluate="),
        ({"steps": 0}, "steps=0"),
        ({"teacher": mlp(6, 8, 4)}, r"shape .*, 4\), the smaller network's .*, 3\)"),
        ({"teacher": mlp(5, 8, 3)}, "the teacher does not run on the data"),
    ],
)
def test_what_cannot_be_used_is_refused(teacher, arguments, message: str):
    given = {"batches": DATA, "teacher": teacher, **arguments}
    with pytest.raises(InputError, match=message):
        heal(teacher, given.pop("teacher"), given.pop("batches"), **given)


def test_data_with_nan_are_refused(teacher):
    data = [DATA[0].clone()]
    data[0][3, 1] = torch.nan
    with pytest.raises(NonFiniteError, match="NaN or infinity"):
        heal(teacher, teacher, data)


def test_a_network_without_its_plan_is_healed_where_its_layers_are_known():
    teacher, data = KNOWN["residual"].network(), [KNOWN["residual"].batch(60)]
    smaller = compress(
        teacher, data, keep=0.5, methods=["backward_elimination"], progress=False
    ).model
    del smaller.eckart_plan
    healed = heal(smaller, teacher, data)
    assert healed.after.value <= healed.before.value


def test_weights_on_the_meta_device_are_refused(teacher):
    with pytest.raises(InputError, match="meta device"):
        heal(copy.deepcopy(teacher).to("meta"), teacher, DATA)


def test_moments_and_plans_of_another_network_are_refused(teacher):
    smaller = compress(teacher, DATA, keep=0.7, progress=False)
    other = mlp(6, 8, 3)
    with pytest.raises(MismatchError, match="these moments came from another network"):
        heal(smaller.model, teacher, DATA, moments=calibrate(other, DATA, progress=False))
    with pytest.raises(MismatchError, match="this plan came from another network"):
        heal(smaller.model, other, DATA)
    plan = replace(smaller.plan, choices={"9": next(iter(smaller.plan.choices.values()))})
    with pytest.raises(MismatchError, match="lacks: 9"):
        heal(smaller.model, teacher, DATA, plan=plan)


def test_what_is_held_out_depends_on_the_examples_and_not_on_their_order(teacher):
    whole = torch.cat(DATA)
    parts = [
        parted(batches, teacher, 0.2)
        for batches in (DATA, list(whole[torch.randperm(120)].split(7)), [(whole, whole[:, 0])])
    ]
    held = [torch.cat([b[0] if isinstance(b, tuple) else b for b in p.held_out]) for p in parts]
    fitted = [torch.cat([b[0] if isinstance(b, tuple) else b for b in p.fitting]) for p in parts]
    assert {len(h) for h in held} == {24}
    assert {p.fitting.examples for p in parts} == {96}
    for rows in [*held, *fitted]:
        reference = held[0] if len(rows) == 24 else fitted[0]
        assert sorted(rows[:, 0].tolist()) == sorted(reference[:, 0].tolist())
    assert set(held[0][:, 0].tolist()).isdisjoint(fitted[0][:, 0].tolist())


def test_twins_are_on_one_side():
    batch = torch.randn(20, 3).repeat(2, 1)
    parts = parted([batch], mlp(3, 2), 0.3)
    held = torch.cat(list(parts.held_out))
    fitted = torch.cat(list(parts.fitting))
    assert len(held) + len(fitted) == 40
    assert set(held[:, 0].tolist()).isdisjoint(fitted[:, 0].tolist())


def test_closeness_of_outputs_without_classes_is_relative():
    data = [torch.randn(30, 4), torch.randn(10, 4)]
    teacher = nn.Sequential(nn.Linear(4, 1))
    nothing = copy.deepcopy(teacher)
    with torch.no_grad():
        for parameter in nothing.parameters():
            parameter.zero_()
    judge = closeness(teacher, data)
    assert judge(nothing).value == pytest.approx(0.5)
    assert judge(teacher).value == 0.0
    assert judge(teacher).n == 40


def test_every_registered_treatment_is_one():
    assert all(isinstance(t, package.Treatment) for t in TREATMENTS.values())
    assert {"correct", "refit"} <= set(TREATMENTS)


@pytest.mark.parametrize("treatment", ["correct", "refit"])
def test_closed_forms_change_a_network_that_is_frozen_and_leave_it_frozen(teacher, treatment):
    student = disturbed(teacher)
    frozen = copy.deepcopy(student).requires_grad_(False)
    one, two = (heal(s, teacher, DATA, treatments=[treatment]) for s in (student, frozen))
    assert two.after.value == one.after.value < two.before.value
    assert not any(p.requires_grad for p in two.model.parameters())
