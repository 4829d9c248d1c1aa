"""What every registered way to share a factor promises, for layers that read one input."""

import copy
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from eckart.errors import InputError
from eckart.layers import Factored, as_matrix, piece_of, rebuild, share_first, weight_of
from eckart.linalg import damped, output_projection, quadratic_loss
from eckart.methods import SHARINGS, Problem, SharedFactor, Sharing, sharings_named
from eckart.methods.shared import stacked
from eckart.records import Form
from random_moments import normal
from tolerances import tolerance

CLOSE = tolerance(torch.float64)
INPUTS = 9
STACKS = {
    "query, key, value": {"q": 8, "k": 4, "v": 4},
    "gate, up": {"gate": 12, "up": 12},
    "narrow": {"wide": 20, "narrow": 1},
    "alone wide": {"first": 2, "second": 30},
}


def moment(size: int, seed: int) -> Tensor:
    root = normal(size, size + 2, seed=seed)
    return damped((root @ root.mT)[None], 1e-6)


class Stack:
    """Some layers, and the problem of each."""

    def __init__(self, outputs: Mapping[str, int], *, joint: bool = False) -> None:
        torch.manual_seed(0)
        self.layers = {
            name: nn.Linear(INPUTS, out, bias=index == 0, dtype=torch.float64)
            for index, (name, out) in enumerate(outputs.items())
        }
        self.problems = {
            name: Problem(
                piece_of(layer),
                as_matrix(layer),
                moment(INPUTS, seed=index if joint else 99),
                moment(layer.out_features, seed=10 + index),
            )
            for index, (name, layer) in enumerate(self.layers.items())
        }

    def built(self, sharing: Sharing, forms: Mapping[str, Form]) -> dict[str, Factored]:
        """The chains, with their first layer in common."""
        weights = sharing.build(self.problems, forms)
        network = nn.ModuleDict(self.layers)
        for name, form in forms.items():
            network[name] = rebuild(self.layers[name], form, weights[name])
        for name, form in forms.items():
            share_first(network, name, form)
        return dict(network.items())


def offers(sharing: Sharing, stack: Stack) -> list[tuple[dict[str, Form], dict[str, float]]]:
    return [
        ({n: form for n, (form, _) in choice.items()}, {n: loss for n, (_, loss) in choice.items()})
        for choice in sharing.losses(stack.problems)
    ]


@pytest.fixture(params=sorted(SHARINGS))
def sharing(request: pytest.FixtureRequest) -> Sharing:
    return SHARINGS[request.param]


@pytest.fixture(params=STACKS)
def stack(request: pytest.FixtureRequest) -> Stack:
    return Stack(STACKS[request.param])


def test_a_sharing_is_registered_under_its_name(sharing: Sharing):
    assert isinstance(sharing, Sharing)
    assert sharings_named([sharing.name, "svd"]) == [sharing]
    with pytest.raises(InputError, match=rf"unknown method 'shared'.*{sharing.name}"):
        sharings_named("shared")


def test_forms_replace_their_layers_and_name_the_first(sharing: Sharing, stack: Stack):
    owner = next(iter(stack.layers))
    assert offers(sharing, stack)
    for forms, losses in offers(sharing, stack):
        assert list(forms) == list(losses) == list(stack.layers)
        for name, form in forms.items():
            form.check_replaces(stack.problems[name].piece)
            assert form.first_of == ("" if name == owner else owner)
            assert Form.from_json(form.as_json()) == form
            assert losses[name] >= 0


def test_every_loss_is_the_quadratic_form_of_what_is_built(sharing: Sharing, stack: Stack):
    for forms, losses in offers(sharing, stack):
        for name, chain in stack.built(sharing, forms).items():
            assert chain.form == replace(forms[name], first_of="")
            problem = stack.problems[name]
            change = problem.weight - as_matrix(chain.merge())
            found = quadratic_loss(change, problem.a, problem.g)
            scale = quadratic_loss(problem.weight, problem.a, problem.g)
            assert found / scale == pytest.approx(losses[name] / scale, abs=1e-10)


def test_what_is_stored_is_what_the_forms_count(sharing: Sharing, stack: Stack):
    for forms, _ in offers(sharing, stack):
        built = nn.ModuleDict(stack.built(sharing, forms))
        assert sum(p.numel() for p in built.parameters()) == sum(f.params for f in forms.values())
        rank, outputs = next(iter(forms.values())).rank, sum(p.outputs for p in pieces(stack))
        biases = sum(p.outputs for p in pieces(stack) if p.bias)
        stored = sum(form.params for form in forms.values())
        assert stored == rank * (INPUTS + outputs - rank) + biases


def pieces(stack: Stack) -> list:
    return [problem.piece for problem in stack.problems.values()]


def test_a_chain_computes_what_its_merged_layer_does(sharing: Sharing, stack: Stack):
    x = normal(5, INPUTS, seed=3)
    for forms, _ in offers(sharing, stack):
        for chain in stack.built(sharing, forms).values():
            torch.testing.assert_close(chain(x), chain.merge()(x), **CLOSE)


def test_coefficients_stay_small(sharing: Sharing):
    stack = Stack({"q": 60, "k": 30, "v": 30})
    largest = [
        float(weight_of(chain[-1]).detach().abs().max())
        for forms, _ in offers(sharing, stack)
        for chain in stack.built(sharing, forms).values()
    ]
    assert max(largest) < 10


def test_no_matrix_of_that_rank_is_better_for_the_stack():
    """Eckart and Young: the whole stack under its own A and G."""
    stack = Stack(STACKS["query, key, value"])
    whole = stacked(stack.problems)
    best = output_projection(whole.weight, whole.a, whole.g).losses
    for forms, losses in offers(SharedFactor(), stack):
        rank = next(iter(forms.values())).rank
        assert sum(losses.values()) == pytest.approx(float(best[rank]), rel=1e-8)


def test_layers_whose_inputs_are_weighed_apart_share_the_mean():
    """Moments that take rows jointly differ between layers that read one input."""
    stack = Stack(STACKS["gate, up"], joint=True)
    mean = torch.stack([problem.a for problem in stack.problems.values()]).mean(0)
    torch.testing.assert_close(stacked(stack.problems).a, mean, **CLOSE)
    losses = [sum(losses.values()) for _, losses in offers(SharedFactor(), stack)]
    assert losses[0] > losses[-2] > 0


@pytest.mark.parametrize("zero", ["weight", "a", "g"])
def test_all_zero_problems_give_finite_weights(sharing: Sharing, zero: str):
    stack = Stack(STACKS["query, key, value"])
    for name, p in stack.problems.items():
        parts = {"weight": p.weight, "a": p.a, "g": p.g}
        nothing = torch.zeros_like(parts[zero])
        parts[zero] = nothing if zero == "weight" else damped(nothing, 1e-6)
        stack.problems[name] = Problem(p.piece, **parts)
    for forms, losses in offers(sharing, stack):
        assert all(0 <= loss < float("inf") for loss in losses.values())
        for weights in sharing.build(stack.problems, forms).values():
            assert all(torch.isfinite(w).all() for w in weights)


def test_ranks_end_where_a_layer_would_have_all_its_outputs_in_the_first():
    """What is left of it would be no layer."""
    stack = Stack(STACKS["narrow"])
    wide, white = stack.problems["wide"], torch.eye(INPUTS, dtype=torch.float64)[None]
    blind = wide.weight * (torch.arange(INPUTS) < 4)  # only the narrow one sees the other inputs
    stack.problems["wide"] = Problem(wide.piece, blind, white, wide.g)
    found = offers(SharedFactor(), stack)
    assert all(form.pieces[-1].rest.outputs >= 1 for forms, _ in found for form in forms.values())
    assert len(found) <= 4


def test_what_differs_in_more_than_outputs_shares_nothing():
    linear = piece_of(nn.Linear(4, 3))
    assert SharedFactor().applies([linear, piece_of(nn.Linear(4, 5, bias=False))])
    assert not SharedFactor().applies([linear])
    assert not SharedFactor().applies([linear, piece_of(nn.Linear(5, 3))])
    convolution = piece_of(nn.Conv2d(4, 3, 3))
    assert SharedFactor().applies([convolution, piece_of(nn.Conv2d(4, 8, 3))])
    assert not SharedFactor().applies([convolution, piece_of(nn.Conv2d(4, 3, 3, stride=2))])
    grouped = piece_of(nn.Conv2d(4, 4, 3, groups=2))
    assert not SharedFactor().applies([grouped, grouped])


def test_a_partly_carrying_layer_needs_rows_of_the_identity():
    stack = Stack(STACKS["query, key, value"])
    forms, _ = offers(SharedFactor(), stack)[4]
    chain = stack.built(SharedFactor(), forms)["q"]
    assert 0 < chain[-1].piece.carries < chain[-1].piece.inputs
    before = copy.deepcopy(chain.state_dict())
    with pytest.raises(InputError, match="rows of the identity"):
        chain.fill([normal(5, INPUTS, seed=1), normal(8, 5, seed=2)])
    assert all(torch.equal(value, before[name]) for name, value in chain.state_dict().items())
