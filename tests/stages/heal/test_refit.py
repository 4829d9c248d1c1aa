"""Refitting solves each layer for what it really gets, and leaves it where held-out data say so."""

import copy

import pytest
import torch
from torch import Tensor, nn

import eckart
from eckart import calibrate, heal
from eckart.layers import Carrying, Factored, piece_of, rebuild, weights_of
from eckart.linalg import quadratic_loss
from eckart.methods import methods_named
from eckart.stages.heal.channels import by_row
from eckart.stages.heal.refit.fits import Layer, refined, solved
from eckart.stages.heal.refit.flow import flow_of
from eckart.stages.heal.refit.sums import Sums
from layer_zoo import EVEN_WARNING, LAYERS, inputs, layer, problem_of_layer
from random_moments import normal, second_moment
from stages.heal.networks import Branching, Residual, compressed, disturbed, images, settled
from stages.networks import mlp


def quadratic_of(module: nn.Module, x: Tensor, t: Tensor):
    sums = Sums(module)
    sums.add(x, t)
    return sums.quadratic()


def chain_of(module: nn.Module, method: str) -> Factored:
    """A layer factored at a middle rank."""
    (found,) = methods_named([method])
    state = found.prepare(problem_of_layer(module))
    forms = found.losses(state)
    form = forms[len(forms) // 2][0]
    return rebuild(module, form, found.build(state, form))


@pytest.mark.filterwarnings(f"ignore:{EVEN_WARNING}")
@pytest.mark.parametrize("name", [n for n in LAYERS if not piece_of(layer(n)).inputs_first])
def test_sums_predict_what_is_measured_and_give_the_layer_back(name: str):
    module = layer(name, torch.float32)
    x = inputs(module, n=24)
    bias = module.bias
    t = module(x).detach()
    q = quadratic_of(module, x, t)
    shape = piece_of(module).matrix_shape
    b = torch.zeros(shape[:2]).double() if bias is None else bias.detach().double().view(shape[:2])
    g, other = second_moment(shape[0], shape[1], seed=3), disturbed(module)
    errors = by_row(module, t - other(x).detach()).double()
    errors = errors.unflatten(1, shape[:2])
    measured = 0.5 * torch.einsum("nga,gab,ngb->", errors, g, errors) / len(errors)
    ours = weights_of(other)
    loss = q.shifted(b).loss(Layer.of(module).matrix(ours), g)
    torch.testing.assert_close(loss, measured, rtol=1e-3, atol=1e-6)
    back = solved(Layer.of(module), ours, q.shifted(b), g)
    assert q.shifted(b).loss(Layer.of(module).matrix(back), g) < 1e-3 * loss + 1e-6
    assert q.centred().loss(Layer.of(module).matrix(back), g) < 1e-3 * loss + 1e-6


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("wide", "svd"),
        ("3x3", "svd"),
        ("3x3", "spatial"),
        ("grouped", "spatial"),
        ("tall", "pivoted_svd"),
    ],
)
def test_no_rival_of_the_form_beats_the_fit(name: str, method: str):
    module = layer(name)
    chain = chain_of(module, method)
    shape, x = piece_of(module).matrix_shape, inputs(module, n=16)
    target = module(x).detach()
    q = quadratic_of(module, x, target + 0.3 * normal(*target.shape, seed=9)).centred()
    g, form = second_moment(shape[0], shape[1], seed=3), Layer.of(chain)
    start = weights_of(chain)
    closed = solved(form, start, q, g)
    best = refined(form, closed, q, g, 60)
    losses = [float(q.loss(form.matrix(w), g)) for w in (start, closed, best)]
    assert losses[1] <= losses[0] + 1e-9
    assert losses[2] <= losses[1] + 1e-9
    for i in range(12):
        rival = [w + 10.0 ** -(1 + i % 4) * normal(*w.shape, seed=i) for w in best]
        assert float(q.loss(form.matrix(rival), g)) >= losses[2] * (1 - 1e-4)


@pytest.mark.parametrize("treatment", ["correct", "refit", "distil"])
def test_pivoted_layers_are_healed_as_any_others(treatment: str):
    data = torch.randn(400, 12)
    teacher = mlp(12, 30, 3).eval()
    smaller = eckart.compress(teacher, [data], keep=0.5, methods=["pivoted_svd"])
    assert any(isinstance(module, Carrying) for module in smaller.model.modules())
    start = disturbed(smaller.model)
    healed = heal(start, teacher, [data], moments=smaller.moments, treatments=[treatment], steps=20)
    assert healed.after.drop_from(healed.before) < 0 or treatment == "correct"
    assert len(healed.log) > 1  # it was offered, if not taken
    form = smaller.model[0].form
    assert form.pieces[-1].carries
    assert healed.model[0].form == form


def test_low_rank_fitted_to_the_layers_own_outputs_loses_what_was_predicted():
    module = layer("3x3")
    chain, problem = chain_of(module, "weighted_svd"), problem_of_layer(module)
    q = quadratic_of(module, inputs(module), module(inputs(module)).detach())
    exact = type(q)(
        problem.a,
        problem.weight @ problem.a,
        problem.weight @ problem.a @ problem.weight.mT,
        torch.zeros_like(q.x),
        torch.zeros_like(q.t),
    )
    form = Layer.of(chain)
    ours = form.matrix(solved(form, weights_of(chain), exact, problem.g))
    theirs = form.matrix(weights_of(chain))
    losses = [quadratic_loss(problem.weight - m, problem.a, problem.g) for m in (ours, theirs)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert float(exact.loss(ours, problem.g)) == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize("network", [Residual, Branching])
def test_layers_of_full_rank_become_the_teachers_again(network):
    data = images(400)
    teacher = settled(network(), data)
    moments = calibrate(teacher, [data], progress=False)
    healed = heal(disturbed(teacher), teacher, [data], moments=moments, treatments=["refit"])
    assert healed.after.value < 0.01 * healed.before.value
    assert any("plain targets" in step.note for step in healed.log) == (network is Branching)


def test_without_moments_or_held_out_examples_it_still_helps():
    data = images()
    teacher = settled(Residual(), data)
    smaller = compressed(teacher, data).model
    scores = iter([0.0, 1.0, 2.0])
    healed = heal(
        smaller,
        teacher,
        [data],
        treatments=["refit"],
        held_out=0.0,
        evaluate=lambda m: next(scores),
    )
    with torch.no_grad():
        gaps = [(m(data) - teacher(data)).square().sum() for m in (healed.model, smaller)]
    assert gaps[0] < gaps[1]


def test_few_examples_leave_layers_as_they_are_or_better_on_held_out_ones():
    teacher = mlp(40, 30, 3).eval()
    data = torch.randn(2000, 40)
    smaller = compressed(teacher, data)
    healed = heal(
        smaller.model, teacher, [data[:20]], moments=smaller.moments, treatments=["refit"]
    )
    with torch.no_grad():
        gaps = [(m(data) - teacher(data)).square().sum() for m in (healed.model, smaller.model)]
    assert gaps[0] <= 1.05 * gaps[1]


def test_the_flow_names_norms_shortcuts_and_rectifiers():
    data = images(4)
    network = Residual().eval()
    flow = flow_of(network, copy.deepcopy(network), data)
    tails = {k: (t.norm, t.shortcut is not None, t.rectified) for k, t in flow.tails.items()}
    assert tails == {
        "stem": ("norm", False, True),
        "conv1": ("norm1", False, True),
        "conv2": ("norm2", True, True),
        "head": (None, False, False),
    }
    assert flow.runs() == [["stem", "conv1"], ["conv2"], ["head"]]
    values = flow.values(network, data, ["conv1", "conv2"])
    with torch.no_grad():
        entered = torch.relu(network.norm(network.stem(data)))
        torch.testing.assert_close(values["conv1"].x, entered)
        torch.testing.assert_close(values["conv2"].shortcut, entered)
        torch.testing.assert_close(values["conv2"].z, network.norm2(values["conv2"].y))


def test_a_layer_that_runs_twice_is_left_alone():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.again, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.relu(self.again(torch.relu(self.again(x)))))

    network = Twice().eval()
    assert list(flow_of(network, copy.deepcopy(network), torch.randn(3, 6)).tails) == ["head"]


def test_dtype_and_frozen_parameters_stay():
    data = torch.randn(300, 8, dtype=torch.float64)
    teacher = mlp(8, 6, 3).double().eval()
    student = disturbed(teacher).requires_grad_(False)
    healed = heal(student, teacher, [data], treatments=["refit"]).model
    assert healed is not student
    assert {p.dtype for p in healed.parameters()} == {torch.float64}
    assert not any(p.requires_grad for p in healed.parameters())
