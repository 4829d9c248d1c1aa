"""The smallest rank of one layer, from the call to the network it gives."""

import pytest
import torch
from torch import Tensor, nn

import layer_zoo
from eckart import Score, accuracy, calibrate, find_rank
from eckart.errors import InputError, MismatchError, NotMonotoneWarning
from eckart.layers import Factored
from random_moments import normal


class Counting:
    """An evaluate that gives the negative distance from the dense outputs, and counts."""

    def __init__(self, model: nn.Module, x: Tensor) -> None:
        self.x, self.y, self.calls = x, model(x).detach(), 0

    def __call__(self, model: nn.Module) -> Score:
        self.calls += 1
        with torch.no_grad():
            error = float((model(self.x) - self.y).norm() / self.y.norm())
        return Score(error, higher_is_better=False)


def rank_three() -> nn.Sequential:
    """12 → 20 at rank 3 exactly, and 20 → 4."""
    model = nn.Sequential(nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, 4)).double()
    model[0].weight.data = normal(20, 3, seed=0) @ normal(3, 12, seed=1)
    return model


@pytest.mark.parametrize("calibrated", [False, True])
def test_the_rank_of_a_matrix_is_found_and_the_network_is_as_good(calibrated: bool):
    model, x = rank_three(), normal(50, 12, seed=2)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate = Counting(model, x)
    moments = calibrate(model, [x]) if calibrated else None
    found = find_rank(model, "0", evaluate, tolerance=1e-4, moments=moments)
    assert found.rank == 3
    assert found.method == ("weighted_svd" if calibrated else "svd")
    assert evaluate.calls == found.search.evaluations + 1
    assert {trial.rank for trial in found.search.trials} >= {2, 3}
    assert found.search.saved_params == 12 * 20 - 3 * 32
    assert isinstance(found.model[0], Factored)
    torch.testing.assert_close(found.model(x), model(x), rtol=1e-3, atol=1e-4)
    assert type(model[0]) is nn.Linear
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])


@pytest.mark.parametrize("name", ["wide", "3x3", "strided", "grouped", "1x1", "reflect"])
def test_candidates_take_no_more_than_the_layer_and_any_layer_is_searched(name: str):
    module = layer_zoo.layer(name)
    model, x = nn.Sequential(module), layer_zoo.inputs(module)
    found = find_rank(model, "0", Counting(model, x), tolerance=float("inf"))
    groups, m, n = layer_zoo.piece_of_layer(module).matrix_shape
    assert found.rank == 1
    assert max(trial.rank for trial in found.search.trials) <= m * n // (m + n)
    assert found.search.dense_params == sum(p.numel() for p in module.parameters())
    saved = groups * (m * n - (m + n))
    assert found.search.saved_params == saved


def test_the_largest_candidate_is_the_break_even_rank():
    model = nn.Sequential(nn.Linear(6, 3, bias=False))  # 18 / 9 = 2, which saves nothing
    ranks = []

    def evaluate(network: nn.Module) -> float:
        ranks.append(network[0][0].out_features if isinstance(network[0], Factored) else 3)
        return float(len(ranks) == 1)

    found = find_rank(model, "0", evaluate, tolerance=0.5)
    assert found.rank is None
    assert sorted(ranks) == [1, 2, 3]
    assert type(found.model[0]) is nn.Linear
    assert "nothing smaller is within 0.5" in str(found)


def test_a_matrix_that_no_rank_makes_smaller_stays_dense():
    model = nn.Sequential(nn.Linear(1, 5))
    found = find_rank(model, "0", lambda m: 1.0, tolerance=0.1)
    assert (found.rank, found.search.evaluations) == (None, 0)


def test_a_smaller_rank_that_is_better_is_found_and_told():
    model = nn.Sequential(nn.Linear(40, 40))

    def evaluate(network: nn.Module) -> float:
        rank = network[0][0].out_features if isinstance(network[0], Factored) else 40
        return 0.95 if rank == 14 else float(rank >= 17)

    with pytest.warns(NotMonotoneWarning, match="rank 14"):
        found = find_rank(model, "0", evaluate, tolerance=0.1)
    assert found.rank == 14
    assert not found.search.monotone


def test_other_methods_have_ranks_too(digits):
    evaluate = accuracy(digits.choose)
    found = find_rank(
        digits.model, "conv3", evaluate, tolerance=0.05, moments=digits.moments, method="spatial"
    )
    assert found.rank is not None
    assert found.model.conv3[0].kernel_size in ((3, 1), (1, 3))
    dense, after = evaluate(digits.model), evaluate(found.model)
    assert after.drop_from(dense) == pytest.approx(found.search.gap)
    assert found.search.gap < 0.05


class ReadsWeight(nn.Module):
    """Its forward goes past the module."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.inner.get_parameter("weight")


def test_a_network_that_does_not_run_with_factors_says_so():
    x = torch.ones(2, 8)
    with pytest.raises(InputError, match="layer 'inner' at rank 2: the network cannot be evaluat"):
        find_rank(ReadsWeight(), "inner", lambda m: m(x).sum(), tolerance=0.1)


NETWORK = nn.Sequential(nn.Linear(8, 8), nn.EmbeddingBag(3, 4, mode="max"), nn.Linear(8, 8))


@pytest.mark.parametrize(
    ("model", "options", "error", "message"),
    [
        (NETWORK, {"layer": "7"}, InputError, "no layer is called '7'; layers are: 0, 2"),
        (
            NETWORK,
            {"layer": "1"},
            InputError,
            "no layer type is registered for .*EmbeddingBag",
        ),
        (nn.Linear(4, 4), {"layer": ""}, InputError, "wrap it in nn.Sequential"),
        (NETWORK, {"tolerance": -1.0}, InputError, "zero or more"),
        (NETWORK, {"method": "svdd"}, InputError, "unknown method"),
        (NETWORK, {"method": "backward_elimination"}, InputError, "has no ranks"),
        (NETWORK, {"method": "spatial"}, InputError, "does not apply"),
        (nn.Sequential(nn.Linear(4, 4)).to("meta"), {}, InputError, "meta device"),
        (nn.Sequential(nn.Linear(4, 4, dtype=torch.complex64)), {}, InputError, "complex64"),
    ],
)
def test_what_cannot_be_searched(model, options, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        find_rank(model, **{"layer": "0", "evaluate": lambda m: 1.0, "tolerance": 0.1, **options})


def test_moments_must_be_of_this_network_and_layer():
    model, x = rank_three(), normal(9, 12, seed=0)
    with pytest.raises(MismatchError, match="another network"):
        find_rank(
            model, "0", lambda m: 1.0, tolerance=0.1, moments=calibrate(rank_three_other(), [x])
        )
    partial = calibrate(model, [x], layers=["0"])
    with pytest.raises(InputError, match="layer '2' has no moments: not among layers="):
        find_rank(model, "2", lambda m: 1.0, tolerance=0.1, moments=partial)


def rank_three_other() -> nn.Sequential:
    model = rank_three()
    model[2].weight.data += 1
    return model


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_and_frozen_layers_stay_what_they_are(dtype: torch.dtype):
    model = rank_three().to(dtype).requires_grad_(False).train()
    x = normal(9, 12, seed=0).to(dtype)
    found = find_rank(model, "0", Counting(model, x), tolerance=0.05)
    assert found.rank <= 3
    for parameter in found.model.parameters():
        assert parameter.dtype == dtype
        assert not parameter.requires_grad
    assert found.model.training


def test_a_rank_with_confidence_is_the_last_that_is_shown_to_lose_less():
    model, x = rank_three(), normal(2000, 12, seed=2)
    y = model(x).argmax(1)
    evaluate = accuracy([(x[i : i + 100], y[i : i + 100]) for i in range(0, 2000, 100)])
    found = find_rank(model, "0", evaluate, tolerance=0.05, confidence=0.95)
    tried = [trial.rank for trial in found.search.trials]
    assert tried == list(range(7, 7 - len(tried), -1)), "from the largest rank down"
    assert found.rank == found.search.found.rank == 3
    assert found.search.bound < 0.05 <= found.search.trials[-1].bound
    assert found.search.trials[0].score.n < 2000, "what is clear is not read to the end"
    assert "below" in str(found)
    assert "with confidence 0.95" in str(found)


def test_a_confidence_needs_a_number_per_example():
    model, x = rank_three(), normal(50, 12, seed=2)
    with pytest.raises(InputError, match="per example"):
        find_rank(model, "0", Counting(model, x), tolerance=0.1, confidence=0.9)
    with pytest.raises(InputError, match="between 0 and 1"):
        find_rank(model, "0", Counting(model, x), tolerance=0.1, confidence=95)


def test_an_evaluation_with_confidence_that_fails_names_the_layer():

    def evaluate(network: nn.Module) -> Score:
        if isinstance(network[0], Factored):
            raise ValueError("reads weights")
        return Score(1.0, samples=torch.ones(100))

    with pytest.raises(InputError, match=r"layer '0' at rank 7: .*ValueError: reads weights"):
        find_rank(rank_three(), "0", evaluate, tolerance=0.1, confidence=0.9)
