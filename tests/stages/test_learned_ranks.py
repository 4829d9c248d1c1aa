"""Learning-compression: each projection is exact, and training arrives at the ranks that pay."""

import copy
import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eckart.errors import InputError, NonFiniteError, NotConvergedWarning
from eckart.factors import LearnedRanks
from eckart.layers import Factored, as_matrix
from eckart.methods import low_rank_form
from layer_zoo import LAYERS, layer, piece_of_layer
from random_moments import normal
from stages.networks import SmallCnn, mlp
from tolerances import tolerance

CLOSE = tolerance(torch.float64)


def of_rank(out: int, inputs: int, rank: int, noise: float = 0.0) -> nn.Sequential:
    model = mlp(inputs, out).double()
    low = normal(out, rank, seed=1) @ normal(rank, inputs, seed=2)
    model[0].weight.data = low + noise * normal(out, inputs, seed=3)
    return model


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("price", [1e-3, 0.1, 1.0])
def test_a_projection_minimises_price_and_distance_together(name: str, price: float):
    """Against every rank of a decomposition of its own, and against staying dense."""
    model, strength = nn.Sequential(layer(name)), 0.5
    learned = LearnedRanks(model, price, strength=strength, layers=["0"])
    piece, weight = piece_of_layer(model[0]), as_matrix(model[0])
    U, S, Vh = torch.linalg.svd(weight, full_matrices=False)
    objective = {None: price * piece.params}
    for rank in range(1, S.shape[1] + 1):
        rest = float(S[:, rank:].square().sum())
        cost = price * low_rank_form(piece, rank).params
        objective[rank] = cost + strength / 2 * rest
    best = min(objective, key=objective.get)
    assert learned.ranks.get("0") == best
    if best is None:
        assert learned.distance == 0
        assert learned.penalty().item() == 0
    else:
        target = (U[..., :best] * S[:, None, :best]) @ Vh[:, :best]
        apart = float((weight - target).square().sum())
        assert learned.penalty().item() == pytest.approx(strength / 2 * apart, rel=1e-6, abs=1e-12)
        assert learned.distance == pytest.approx(
            math.sqrt(apart / float(weight.square().sum())), rel=1e-6, abs=1e-7
        )


def test_the_gradient_pulls_to_the_target():
    model = of_rank(12, 9, 3, noise=0.05)
    learned = LearnedRanks(model, 0.05, strength=0.7)
    U, S, Vh = torch.linalg.svd(model[0].weight.detach())
    rank = learned.ranks["0"]
    target = U[:, :rank] * S[:rank] @ Vh[:rank]
    learned.penalty().backward()
    gradient = 0.7 * (model[0].weight.detach() - target)
    torch.testing.assert_close(model[0].weight.grad, gradient, rtol=1e-6, atol=1e-8)


def test_components_come_back_as_the_strength_grows():
    model = of_rank(12, 9, 9)
    learned = LearnedRanks(model, 0.05, strength=1e-3, growth=10.0)
    found = [learned.ranks.get("0", 9)]
    for step in range(1, 5):
        found.append(learned.project().get("0", 9))
        assert learned.strength == pytest.approx(1e-3 * 10**step)
    assert found == sorted(found)
    assert found[0] < found[-1]


def regression(rank: int) -> tuple[Tensor, Tensor]:
    x = normal(200, 12, seed=4)
    return x, x @ normal(12, rank, seed=5) @ normal(rank, 12, seed=6) / 4


@pytest.mark.parametrize("rank", [1, 2])
def test_training_finds_the_rank_of_the_task(rank: int):
    torch.manual_seed(0)
    model, (x, y) = nn.Sequential(nn.Linear(12, 12)).double(), regression(rank)
    learned = LearnedRanks(model, 1e-3, strength=1e-2, growth=1.5)
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    for step in range(300):
        optimiser.zero_grad()
        (F.mse_loss(model(x), y) + learned.penalty()).backward()
        optimiser.step()
        if step % 20 == 19:
            learned.project()
    smaller = learned.finish()
    assert learned.ranks == {"0": rank}
    assert learned.distance < 0.02
    assert type(model[0]) is nn.Linear
    assert type(smaller[0]) is Factored
    assert smaller.eckart_plan.choices["0"].form.rank == rank
    assert float(F.mse_loss(smaller(x), y).detach()) < 3e-3 * float(y.var())


def test_the_dearer_the_smaller():
    sizes = []
    for price in (1e-4, 1e-2, 10.0):
        learned = LearnedRanks(of_rank(12, 9, 4, noise=0.3), price, strength=1.0)
        sizes.append(learned.ranks.get("0", 9))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1] == 1


@pytest.mark.filterwarnings("ignore:stopped with the weights")
@pytest.mark.parametrize("cost", ["bytes", "macs", "params"])
def test_a_price_is_of_any_cost(cost: str):
    model, example = SmallCnn(), torch.randn(2, 3, 9, 8)
    learned = LearnedRanks(model, 1e3, cost=cost, example_inputs=example)
    plan = learned.finish().eckart_plan
    assert set(learned.ranks.values()) == {1}, "only the cheapest is worth so much"
    assert plan.costs[cost] < plan.totals[cost]
    assert {"params", "macs", "bytes"} <= set(plan.costs)


@pytest.mark.filterwarnings("ignore:stopped with the weights")
def test_what_is_not_learned_says_why():
    model = mlp(12, 9, 9, 5)
    model[2].weight.data = torch.eye(9) * 50  # no rank does it justice
    learned = LearnedRanks(model, 1e-2, strength=0.1, dense=["4"])
    plan = learned.finish().eckart_plan
    assert set(plan.choices) == set(learned.ranks) == {"0"}
    assert plan.dense == {"2": "no rank is worth its price", "4": "asked to stay dense"}


def test_factors_far_from_the_weights_are_warned_of():
    model = of_rank(12, 9, 9)
    with pytest.warns(NotConvergedWarning, match=r"\d% away from their ranks"):
        LearnedRanks(model, 1.0, strength=1e-2).finish()
    exact = of_rank(12, 9, 2)
    smaller = LearnedRanks(exact, 1e-3, strength=1.0).finish()
    x = normal(5, 12 - 3, seed=9)
    torch.testing.assert_close(smaller(x), exact(x), rtol=1e-6, atol=1e-7)


def test_the_network_is_left_as_it_is():
    model = mlp(12, 9)
    before, modules = copy.deepcopy(model.state_dict()), list(model.modules())
    learned = LearnedRanks(model, 0.05, strength=1.0)
    learned.project()
    assert learned.penalty().item() > 0
    assert list(model.modules()) == modules
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_penalty_has_the_dtype_of_the_weights(dtype: torch.dtype):
    model = mlp(12, 9).to(dtype)
    learned = LearnedRanks(model, 0.05, strength=1.0)
    learned.penalty().backward()
    assert model[0].weight.grad.dtype == dtype


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(({name: value}, name) for name, value in product(("price", "strength"), (0.0, -1.0))),
        ({"price": math.nan}, "price=nan"),
        ({"growth": 0.5}, "growth=0.5"),
        ({"cost": "seconds"}, "unknown cost 'seconds'; known: active_params, bytes, macs, params"),
        ({"cost": "macs"}, "give example_inputs="),
        ({"dense": ["*"]}, "no layer has a rank to learn"),
        ({"layers": ["9"]}, "no layer matches '9'"),
    ],
)
def test_bad_arguments_are_refused(arguments, message: str):
    with pytest.raises(InputError, match=message):
        LearnedRanks(mlp(12, 9), **{"price": 1e-3, **arguments})


def test_no_rank_worth_its_price_is_an_error():
    with pytest.raises(InputError, match="every layer stays dense: raise price="):
        LearnedRanks(of_rank(12, 9, 9), 1e-9, strength=1e3).finish()


def test_a_training_that_diverged_is_named():
    model = mlp(12, 9)
    learned = LearnedRanks(model, 1e-3)
    model[0].weight.data[0, 0] = math.nan
    with pytest.raises(NonFiniteError, match="layer '0': its weight holds NaN"):
        learned.project()
