"""Layers become trainable factors of the ranks asked for; what stays dense says why."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from eckart import calibrate, factorize, load, measure, merge, save
from eckart.errors import InputError, LeftDenseWarning, MismatchError, NonFiniteError
from eckart.layers import Factored, as_matrix
from eckart.linalg import quadratic_loss
from eckart.methods import low_rank_form, problem_of
from layer_zoo import EVEN_WARNING, LAYERS, inputs, layer, piece_of_layer
from stages.networks import SmallCnn, mlp
from tolerances import tolerance

pytestmark = pytest.mark.filterwarnings(f"ignore:{EVEN_WARNING}")
CLOSE = tolerance(torch.float64)
each_layer = pytest.mark.parametrize("name", LAYERS)
each_core = pytest.mark.parametrize("core", [False, True], ids=["U V", "U core V"])


@pytest.fixture
def x() -> Tensor:
    return torch.randn(60, 12)


def alone(name: str) -> tuple[nn.Module, int]:
    """A network of one layer of the zoo, and the layer's full rank."""
    module = layer(name)
    return nn.Sequential(module), min(piece_of_layer(module).matrix_shape[1:])


@each_layer
@each_core
def test_full_rank_gives_the_layer_back(name: str, core: bool):
    model, full = alone(name)
    factored = factorize(model, {"0": full}, core=core)
    assert type(factored[0]) is Factored
    assert factored[0].form == low_rank_form(piece_of_layer(model[0]), full, core=core)
    assert len(factored[0]) == 2 + core
    torch.testing.assert_close(factored(inputs(model[0])), model(inputs(model[0])), **CLOSE)
    torch.testing.assert_close(merge(factored)[0].weight, model[0].weight, **CLOSE)
    assert factored.eckart_plan.loss == pytest.approx(0, abs=1e-12)


@each_layer
@each_core
@pytest.mark.parametrize("init", ["svd", "random"])
def test_merged_factors_compute_the_same_and_lose_what_is_said(name: str, core: bool, init):
    model, full = alone(name)
    factored = factorize(model, {"0": max(1, full - 1)}, core=core, init=init)
    merged = merge(factored)
    torch.testing.assert_close(merged(inputs(model[0])), factored(inputs(model[0])), **CLOSE)
    change = as_matrix(merged[0]) - as_matrix(model[0])
    loss = 0.5 * float(change.square().sum())
    assert factored.eckart_plan.loss == pytest.approx(loss, rel=1e-9, abs=1e-12)


@each_core
@pytest.mark.parametrize("rank", [1, 3])
def test_svd_is_the_best_of_its_rank(core: bool, rank: int):
    model = mlp(12, 9).double()
    factored = factorize(model, rank, core=core)
    U, S, Vh = torch.linalg.svd(model[0].weight.detach())
    best = U[:, :rank] * S[:rank] @ Vh[:rank]
    torch.testing.assert_close(merge(factored)[0].weight.detach(), best, **CLOSE)
    if core:
        V, middle, left = (piece.weight.detach() for piece in factored[0])
        torch.testing.assert_close(middle, torch.diag(S[:rank]), **CLOSE)
        for rows in (V, left.mT):
            torch.testing.assert_close(rows @ rows.mT, torch.eye(rank).double(), **CLOSE)


@each_core
def test_weighted_factors_are_those_of_the_moments(x: Tensor, core: bool):
    model = mlp(12, 9, 5).double()
    moments = calibrate(model, [x.double()])
    plain = factorize(model, 2, core=core)
    weighted = factorize(model, 2, init="weighted", moments=moments, core=core)
    for name, choice in weighted.eckart_plan.choices.items():
        problem = problem_of(model.get_submodule(name), name, moments)
        losses = [
            quadratic_loss(
                problem.weight - as_matrix(merge(m).get_submodule(name)), problem.a, problem.g
            )
            for m in (weighted, plain)
        ]
        assert choice.loss == pytest.approx(losses[0], rel=1e-7)
        assert losses[0] < losses[1]
    assert weighted.eckart_plan.moments == moments.digest
    with pytest.raises(MismatchError, match="another network"):
        factorize(mlp(12, 9, 5), 2, init="weighted", moments=moments)


@each_core
def test_random_factors_keep_the_size_of_signals_and_gradients(core: bool):
    model = nn.Sequential(nn.Linear(600, 500, bias=False))
    generator = torch.Generator().manual_seed(1)
    factored = factorize(model, 80, init="random", core=core, generator=generator)
    rows = torch.randn(400, 600, requires_grad=True)
    sizes = []
    for network in (model, factored):
        outputs = network(rows)
        (gradient,) = torch.autograd.grad(outputs, rows, torch.ones_like(outputs).normal_())
        sizes.append((float(outputs.detach().std()), float(gradient.std())))
    for mine, dense in zip(*sizes, strict=True):
        assert mine == pytest.approx(dense, rel=0.1)
    again = factorize(model, 80, init="random", core=core, generator=generator.manual_seed(1))
    assert torch.equal(again[0][0].weight, factored[0][0].weight)


@each_core
@pytest.mark.parametrize("init", ["svd", "random"])
def test_every_factor_learns(x: Tensor, core: bool, init):
    model = factorize(mlp(12, 9, 4), 2, core=core, init=init)
    target = torch.randn(60, 4)
    optimiser = torch.optim.SGD(model.parameters(), 0.05)
    before = copy.deepcopy(model.state_dict())
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = nn.functional.mse_loss(model(x), target)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert all(not torch.equal(value, before[name]) for name, value in model.state_dict().items())


@each_core
@pytest.mark.parametrize("init", ["svd", "random"])
def test_a_zero_weight_can_still_learn(x: Tensor, core: bool, init):
    model = mlp(12, 9)
    nn.init.zeros_(model[0].weight)
    factored = factorize(model, 3, core=core, init=init)
    torch.testing.assert_close(factored(x), model(x))
    factored(x).square().sum().backward()
    moved = [p for p in factored[0].parameters() if p.grad is not None and p.grad.any()]
    assert len(moved) >= 2, "a factor and the bias"


@each_core
@pytest.mark.parametrize("make", [lambda: mlp(12, 9, 5), SmallCnn], ids=["mlp", "cnn"])
def test_saved_and_loaded_to_the_bit(make, core: bool, tmp_path):
    model = make()
    example = torch.randn(2, 12) if isinstance(model, nn.Sequential) else torch.randn(2, 3, 9, 8)
    factored = factorize(model, 2, core=core, example_inputs=example)
    save(factored, tmp_path)
    fresh = load(make(), tmp_path)
    assert torch.equal(fresh(example), factored(example))
    assert fresh.eckart_plan == factored.eckart_plan
    merged = merge(fresh)
    torch.testing.assert_close(merged(example), factored(example), **tolerance(torch.float32))
    assert merged.state_dict().keys() == make().state_dict().keys()


def test_costs_are_counted():
    model, example = SmallCnn(), torch.randn(2, 3, 9, 8)
    factored = factorize(model, 2, core=True, example_inputs=example)
    found, dense = (measure(m, example, latency=False) for m in (factored, model))
    plan = factored.eckart_plan
    assert plan.costs == {"params": found.params, "macs": found.macs, "bytes": found.bytes}
    assert plan.totals == {"params": dense.params, "macs": dense.macs, "bytes": dense.bytes}
    assert set(factorize(model, 2).eckart_plan.costs) == {"params", "bytes"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@each_core
def test_dtype_mode_and_what_is_trained_are_kept(dtype: torch.dtype, core: bool):
    model = mlp(12, 9).to(dtype).eval()
    model[0].weight.requires_grad_(False)
    factored = factorize(model, 2, core=core)
    assert {p.dtype for p in factored.parameters()} == {dtype}
    assert [p.requires_grad for p in factored[0].parameters()] == [False] * (2 + core) + [True]
    assert not any(module.training for module in factored.modules())


def test_a_copy_is_changed_or_the_network_itself():
    model = mlp(12, 9, 5)
    factored = factorize(model, 2)
    assert type(model[0]) is nn.Linear
    assert factorize(model, 2, inplace=True) is model
    assert torch.equal(model[0][0].weight, factored[0][0].weight)


@pytest.mark.parametrize(
    ("rank", "expected"),
    [
        (2, {"0": 2, "2": 2}),
        (0.4, {"0": 3, "2": 2}),
        (1e-6, {"0": 1, "2": 1}),
        ({"2": 1}, {"2": 1}),
        ({"*": 2, "2": 1}, {"0": 2, "2": 1}),
        ({"2": 1, "*": 2}, {"0": 2, "2": 2}),
        ({"0": 1.0}, {"0": 9}),
    ],
    ids=str,
)
def test_ranks_are_given_in_many_ways(rank, expected: dict[str, int]):
    plan = factorize(mlp(12, 9, 5), rank).eckart_plan
    assert {name: choice.form.rank for name, choice in plan.choices.items()} == expected
    assert set(plan.choices) | set(plan.dense) == {"0", "2"}
    assert not set(plan.choices) & set(plan.dense)


def test_what_stays_dense_says_why():
    model = mlp(12, 9, 5, 5, 5, 5, 3)
    model[4].weight = model[6].weight
    parametrizations.weight_norm(model[8])
    plan = factorize(model, {"[024]": 4, "10": 1}, dense=["2"]).eckart_plan
    assert set(plan.choices) == {"0", "10"}
    reasons = {
        "2": "asked to stay dense",
        "4": "its weight is shared",
        "6": "its weight is shared",
    }
    for name, reason in reasons.items():
        assert reason in plan.dense[name]
    plan = factorize(mlp(12, 9, 5), 4, layers=["0"]).eckart_plan
    assert plan.dense == {"2": "not among layers="}
    plan = factorize(mlp(12, 9, 5), {"*": 4}).eckart_plan
    assert "rank 4 takes 61 parameters and the layer has 50" in plan.dense["2"]
    plan = factorize(mlp(12, 9, 3), 4).eckart_plan
    assert plan.dense["2"] == "rank 4 is beyond its full rank, 3"
    plan = factorize(mlp(12, 9, 5), {"0": 2}).eckart_plan
    assert plan.dense["2"] == "no rank was given for it"


def test_a_layer_named_itself_gets_its_rank_or_an_error():
    assert factorize(mlp(12, 9, 5), {"2": 4}).eckart_plan.costs["params"] > mlp_params(12, 9, 5)
    with pytest.raises(InputError, match=r"'2' cannot have the rank 6: rank 6 is beyond .* 5"):
        factorize(mlp(12, 9, 5), {"2": 6})
    with pytest.raises(InputError, match="'2' cannot have the rank 2: asked to stay dense"):
        factorize(mlp(12, 9, 5), {"*": 2, "2": 2}, dense=["2"])


def mlp_params(*widths: int) -> int:
    return sum(p.numel() for p in mlp(*widths).parameters())


def test_factors_are_not_factored_again():
    once = factorize(mlp(12, 9, 5), {"0": 6})
    plan = factorize(once, {"2": 2}).eckart_plan
    assert "already a factor of '0'" in plan.dense["0.0"]
    assert set(factorize(merge(once), 2).eckart_plan.choices) == {"0", "2"}


class Reads(nn.Module):
    """Reads its layer's weight directly."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.plain = nn.Linear(12, 12), nn.Linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.plain(x @ self.read.get_parameter("weight").mT)


def test_what_the_network_does_not_run_with_is_restored(x: Tensor):
    model = Reads()
    with pytest.warns(LeftDenseWarning, match="read"):
        factored = factorize(model, 2, example_inputs=x)
    assert type(factored.read) is nn.Linear
    plan = factored.eckart_plan
    assert set(plan.choices) == {"plain"}
    assert "does not run" in plan.dense["read"]
    assert plan.costs["params"] == sum(p.numel() for p in factored.parameters())


def complex_layer() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4, dtype=torch.complex64))


def broken(value: float) -> nn.Module:
    model = mlp(12, 9)
    model[0].weight.data[0, 0] = value
    return model


@pytest.mark.parametrize(
    ("model", "arguments", "error", "message"),
    [
        (mlp(12, 9), {"rank": 0}, InputError, "rank 0 for"),
        (mlp(12, 9), {"rank": -1}, InputError, "rank -1 for"),
        (mlp(12, 9), {"rank": 1.5}, InputError, "rank 1.5 for"),
        (mlp(12, 9), {"rank": math.nan}, InputError, "rank nan for"),
        (mlp(12, 9), {"rank": True}, InputError, "rank True for"),
        (mlp(12, 9), {"rank": 10}, InputError, "no layer would be factored: 0: rank 10 is beyond"),
        (mlp(12, 9), {"rank": {}}, InputError, "no layer would be factored: 0: no rank was given"),
        (mlp(12, 9), {"rank": {"nothing": 2}}, InputError, "no layer matches 'nothing'"),
        (mlp(12, 9), {"rank": 2, "layers": ["7"]}, InputError, "no layer matches '7'"),
        (mlp(12, 9), {"rank": 2, "init": "best"}, InputError, "known: svd, weighted, random"),
        (mlp(12, 9), {"rank": 2, "init": "weighted"}, InputError, "moments=none"),
        (nn.Linear(12, 9), {"rank": 2}, InputError, "it is the whole network"),
        (nn.Sequential(nn.ReLU()), {"rank": 2}, InputError, "the network has none"),
        (mlp(12, 9).to("meta"), {"rank": 2}, InputError, "meta device"),
        (complex_layer(), {"rank": 2}, InputError, "0: its weight is torch.complex64; only real"),
        (broken(math.nan), {"rank": 2}, NonFiniteError, "'0': its weight holds NaN"),
        (broken(math.inf), {"rank": 2}, NonFiniteError, "'0': its weight holds NaN or infinity"),
    ],
)
def test_bad_input_is_refused(model: nn.Module, arguments, error, message: str):
    before = list(model.modules())
    with pytest.raises(error, match=message):
        factorize(model, **arguments, inplace=True)
    assert list(model.modules()) == before


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_an_empty_layer_stays():
    model = nn.ModuleDict(
        {"empty": nn.Linear(0, 5), "lazy": nn.LazyLinear(4), "full": layer("wide")}
    )
    plan = factorize(model, 1).eckart_plan
    assert plan.dense["empty"] == "it is empty"
    assert "never run" in plan.dense["lazy"]
    assert set(plan.choices) == {"full"}


def test_views_of_other_tensors_are_factored():
    model = mlp(9, 9).double()
    weight = torch.randn(9, 9, dtype=torch.float64)
    model[0].weight = nn.Parameter(weight.mT)
    torch.testing.assert_close(
        merge(factorize(model, {"0": 9}))[0].weight, model[0].weight, **CLOSE
    )
