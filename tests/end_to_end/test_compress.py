"""The whole chain on a real, if small, network."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import eckart
from eckart import (
    Budget,
    BudgetError,
    Score,
    accuracy,
    calibrate,
    compress,
    curves,
    frontier,
    measure,
)
from eckart.errors import (
    CheckpointError,
    CompressionInterrupted,
    FrontierInterrupted,
    InputError,
    LeftDenseWarning,
    MismatchError,
)
from stages.networks import Peeking

QUICK = ["weighted_svd", "spatial"]  # without channels, whose options take most of the time


class Counting:
    """An ``evaluate`` that knows how often it was called."""

    def __init__(self, batches: Any) -> None:
        self.evaluate, self.calls = accuracy(batches), 0

    def __call__(self, model: nn.Module) -> Score:
        self.calls += 1
        return self.evaluate(model)


@pytest.mark.parametrize(
    ("of", "keep", "methods"),
    [("model", 0.4, "auto"), ("sites", 0.3, QUICK)],
    ids=["model", "sites"],
)
def test_a_fraction_of_the_parameters(digits, of: str, keep: float, methods: Any):
    weights = copy.deepcopy(digits.model.state_dict())
    found = compress(
        digits.model,
        digits.train[:5],
        keep=keep,
        of=of,
        methods=methods,
        report=accuracy(digits.test),
    )
    params = measure(found.model, found.moments.example, latency=False).params
    dense = sum(p.numel() for p in digits.model.parameters())
    sites = sum(spec.dense.params for spec in found.moments.specs.values())
    whole = dense if of == "model" else sites
    assert params - (dense - whole) <= keep * whole
    assert params == found.plan.costs["params"]
    assert found.before.value > 0.95
    assert found.after.value > found.before.value - 0.05
    change = "rise" if found.after.value > found.before.value else "drop"
    assert f"a {change} of" in str(found)
    assert all(torch.equal(v, weights[k]) for k, v in digits.model.state_dict().items())


def test_several_limits_at_once(digits):
    budget = Budget(params=0.5, macs=0.4)
    found = compress(digits.model, digits.train[:5], budget=budget, dense=["fc2"], methods=QUICK)
    costs = measure(found.model, found.moments.example, latency=False)
    dense = measure(digits.model, found.moments.example, latency=False)
    assert costs.params <= 0.5 * dense.params
    assert costs.macs <= 0.4 * dense.macs
    assert found.plan.dense["fc2"] == "asked to stay dense"
    assert found.before is None


@pytest.mark.parametrize("tolerance", [0.0, 0.02])
@pytest.mark.filterwarnings("ignore::eckart.errors.NotMonotoneWarning")
def test_a_tolerance_holds_on_the_set_it_is_chosen_on(digits, tolerance: float):
    choose = Counting(digits.choose)
    found = compress(
        digits.model,
        digits.train[:5],
        tolerance=tolerance,
        methods=QUICK,
        evaluate=choose,
        report=accuracy(digits.test),
    )
    dense, smaller = (accuracy(digits.choose)(m) for m in (digits.model, found.model))
    assert smaller.drop_from(dense) <= tolerance
    assert choose.calls == found.evaluations + 1, "each candidate once, and the dense network"
    assert found.evaluations == found.search.evaluations
    assert found.search.gap == pytest.approx(smaller.drop_from(dense))
    assert found.search.saved_params == (found.plan.totals["params"] - found.plan.costs["params"])
    assert found.evaluations <= 12 or not found.search.monotone
    assert found.plan.costs["params"] < 0.7 * found.plan.totals["params"]
    assert found.before.n == found.after.n == 397
    assert found.after.drop_error(found.before) >= 0


def test_a_tolerance_with_confidence_reads_no_more_than_it_needs(digits):
    found = compress(
        digits.model,
        digits.train[:5],
        tolerance=0.05,
        confidence=0.95,
        methods=QUICK,
        evaluate=accuracy(digits.choose),
        report=accuracy(digits.test),
    )
    search, n = found.search, accuracy(digits.choose)(digits.model).n
    assert search.found.bound < 0.05
    assert search.examples < 0.7 * n * search.evaluations
    assert found.plan.costs["params"] == search.found.params < 0.7 * search.dense_params
    assert found.after.drop_from(found.before) < 0.05
    assert found.evaluations == search.evaluations <= 24
    assert [trial.bound < 0.05 for trial in search.trials[:-1]].count(False) == 0


def test_a_tolerance_for_which_examples_are_too_few_says_so(digits):
    evaluate = accuracy(digits.choose[:1])
    found = compress(
        digits.model,
        digits.train[:1],
        tolerance=0.001,
        confidence=0.95,
        methods=QUICK,
        evaluate=evaluate,
        report=evaluate,
    )
    assert found.plan.loss == 0
    why = set(found.plan.dense.values())
    says = "with confidence 0.95, which takes 4,172 examples or more where there are 100"
    assert any(says in text for text in why)


def test_a_tolerance_that_nothing_meets_leaves_the_network_dense(digits):
    scores = iter([1.0])
    found = compress(
        digits.model,
        digits.train[:1],
        tolerance=0.1,
        methods=QUICK,
        evaluate=lambda model: next(scores, 0.0),
    )
    assert found.plan.costs["params"] <= found.plan.totals["params"]
    assert found.plan.loss == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"keep": 0.5, "tolerance": 0.1},
        {"keep": 0.5, "budget": Budget(macs=0.5)},
        {"tolerance": 0.1},
        {"keep": 0.5, "confidence": 0.95},
        {"tolerance": 0.1, "confidence": 95.0, "evaluate": lambda model: 1.0},
        {"tolerance": -0.1, "evaluate": lambda model: 1.0},
        {"tolerance": float("nan"), "evaluate": lambda model: 1.0},
        {"keep": 0.0},
        {"keep": 1.5},
        {"keep": 0.5, "metric": "loggits"},
        {"keep": 0.5, "methods": ["tt"]},
        {"keep": 0.5, "dense": ["head"]},
        {"keep": 0.5, "heal": ["cure"]},
        {"keep": 0.5, "heal": "refit"},
        {"tolerance": 0.1, "evaluate": lambda model: 1.0, "heal": True},
    ],
    ids=lambda given: "+".join(given),
)
def test_arguments_that_cannot_be_used(digits, wrong: dict[str, Any]):
    with pytest.raises(InputError):
        compress(digits.model, digits.train[:1], **wrong)


def test_a_network_is_healed_on_the_same_batches_if_asked_for(digits):
    given = {"keep": 0.1, "methods": QUICK, "evaluate": accuracy(digits.test), "latency": False}
    plain = compress(digits.model, digits.train[:3], **given)
    found = compress(digits.model, digits.train[:3], heal=["correct"], **given)
    assert plain.healed is None
    assert {step.treatment for step in found.healed.log} == {"start", "correct"}
    assert found.healed.after.value < found.healed.before.value, "closer to the dense network"
    assert found.model is found.healed.model
    assert found.after.value > plain.after.value
    assert found.plan == plain.plan == found.model.eckart_plan
    assert "; healed: held-out score" in str(found)


def test_healing_needs_batches_that_can_be_read_again(digits):
    for given in (iter(digits.train[:1]), digits.moments):
        with pytest.raises(InputError, match="heal= reads the batches again"):
            compress(digits.model, given, keep=0.5, heal=True)


def test_a_network_that_cannot_be_healed_is_not_lost(digits, monkeypatch: pytest.MonkeyPatch):
    def full(*args: object, **given: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("eckart.pipeline.healing.heal", full)
    with pytest.raises(CompressionInterrupted, match=r"not healed .OSError: the disk") as failed:
        compress(digits.model, digits.train[:1], keep=0.5, heal=True, methods=QUICK)
    assert failed.value.compressed.plan.costs["params"] > 0


def test_a_budget_out_of_reach_says_what_is_reachable(digits):
    with pytest.raises(BudgetError, match="the least reachable is"):
        compress(digits.model, digits.train[:1], keep=0.001, methods=QUICK)


def test_the_frontier_resumes(digits, tmp_path: Path):
    path, keeps = tmp_path / "frontier.json", (0.6, 0.3)
    first, second, third = (Counting(digits.choose) for _ in range(3))
    found = frontier(
        digits.model, digits.moments, first, keeps=keeps, path=path, options=digits.options
    )
    assert first.calls == 1 + len(found.points) == 5
    assert [p.keep for p in found.labelled("eckart")] == [0.6, 0.3]
    again = frontier(
        digits.model, digits.moments, second, keeps=keeps, path=path, options=digits.options
    )
    assert second.calls == 1, "only the dense network is evaluated again"
    assert json.dumps(again.as_json()) == json.dumps(found.as_json())
    written = {k: v for k, v in json.loads(path.read_text()).items() if k != "digest"}
    assert json.dumps(again.as_json()) == json.dumps(written)
    more = frontier(
        digits.model, digits.moments, third, keeps=(0.8, *keeps), path=path, options=digits.options
    )
    assert third.calls == 3
    assert more.points[1:3] == again.points[:2]
    assert json.dumps(eckart.Frontier.load(path).as_json()) == json.dumps(more.as_json())


def test_a_frontier_that_is_interrupted_loses_no_point(digits, tmp_path: Path):
    path = tmp_path / "frontier.json"
    evaluate = accuracy(digits.choose)
    frontier(
        digits.model,
        digits.moments,
        evaluate,
        keeps=(0.3,),
        baselines=False,
        path=path,
        options=digits.options,
    )
    left = iter(range(2))

    def interrupted(model: nn.Module) -> eckart.Score:
        for _ in left:
            return evaluate(model)
        raise KeyboardInterrupt

    with pytest.raises(FrontierInterrupted) as stopped:
        frontier(
            digits.model,
            digits.moments,
            interrupted,
            keeps=(0.8, 0.6, 0.3),
            baselines=False,
            path=path,
            options=digits.options,
        )
    assert isinstance(stopped.value.__cause__, KeyboardInterrupt)
    assert [point.keep for point in stopped.value.frontier.points] == [0.8, 0.3]
    assert [point.keep for point in eckart.Frontier.load(path).points] == [0.8, 0.3]


def test_points_scored_on_other_data_are_done_again(digits, tmp_path: Path):
    path = tmp_path / "frontier.json"
    frontier(
        digits.model, digits.moments, lambda _: 0.7, keeps=(0.3,), path=path, options=digits.options
    )
    other = frontier(
        digits.model, digits.moments, lambda _: 0.6, keeps=(0.3,), path=path, options=digits.options
    )
    assert {point.measurement.score.value for point in other.points} == {0.6}


def test_points_that_are_not_asked_for_now_stay_in_the_file(digits, tmp_path: Path):
    path, judge = tmp_path / "frontier.json", accuracy(digits.choose)
    for keeps in ((0.6,), (0.3,)):
        found = frontier(
            digits.model,
            digits.moments,
            judge,
            keeps=keeps,
            baselines=False,
            path=path,
            options=digits.options,
        )
    assert [point.keep for point in found.points] == [0.3]
    assert [point.keep for point in eckart.Frontier.load(path).points] == [0.3, 0.6]


def test_points_with_layers_left_dense_after_all_are_not_done_again(tmp_path: Path):
    model = nn.Sequential(nn.Linear(12, 16), Peeking(), nn.Linear(16, 12)).eval()
    moments = calibrate(model, [torch.randn(4, 5, 12)])
    calls: list[int] = []

    def evaluate(network: nn.Module) -> float:
        calls.append(1)
        return 1.0

    options = curves(model, moments, methods=["weighted_svd"])
    for _ in range(2):
        with pytest.warns(LeftDenseWarning):
            frontier(
                model,
                moments,
                evaluate,
                keeps=(0.9,),
                baselines=False,
                options=options,
                path=tmp_path / "f",
            )
    assert len(calls) == 3


@pytest.mark.filterwarnings("ignore::eckart.errors.LeftDenseWarning")
def test_the_budget_holds_where_layers_had_to_be_restored():
    model = nn.Sequential(nn.Linear(12, 16), Peeking(), nn.Linear(16, 12)).eval()
    moments = calibrate(model, [torch.randn(4, 5, 12)])
    smaller = compress(model, moments, keep=0.9, methods=["weighted_svd"])
    before, after = (sum(p.numel() for p in m.parameters()) for m in (model, smaller.model))
    assert after == smaller.plan.costs["params"] <= 0.9 * before
    assert "does not run with it" in smaller.plan.dense["1.linear1"]
    with pytest.raises(BudgetError, match="the least reachable is"):
        compress(model, moments, keep=0.6, methods=["weighted_svd"])


def test_a_frontier_file_of_another_network_is_refused(digits, tmp_path: Path):
    path = tmp_path / "frontier.json"
    frontier(digits.model, digits.moments, None, keeps=(0.5,), path=path, options=digits.options)
    other = digits.fresh()
    moments = calibrate(other, digits.train[:1])
    offered = curves(other, moments, methods=["svd"])
    with pytest.raises(MismatchError, match="frontier of another network"):
        frontier(other, moments, None, keeps=(0.5,), path=path, options=offered)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"points": 3}', '{"points": [{"plan": []}]}'])
def test_a_damaged_frontier_file_is_refused(digits, tmp_path: Path, content: str):
    path = tmp_path / "frontier.json"
    path.write_text(content)
    with pytest.raises(CheckpointError, match=r"cannot read .*frontier"):
        frontier(
            digits.model, digits.moments, None, keeps=(0.5,), path=path, options=digits.options
        )


def test_a_frontier_out_of_reach_measures_nothing(digits, tmp_path: Path):
    evaluate = Counting(digits.choose)
    with pytest.raises(BudgetError):
        frontier(
            digits.model,
            digits.moments,
            evaluate,
            keeps=(0.5, 0.001),
            path=tmp_path / "f",
            options=digits.options,
        )
    assert evaluate.calls == 0
    assert not (tmp_path / "f").exists()


def test_a_frontier_of_other_options(digits):
    options = curves(digits.model, digits.moments, multiple=4)
    found = frontier(digits.model, digits.moments, None, keeps=(0.5,), cost="macs", options=options)
    (point,) = found.labelled("eckart")
    assert point.measurement.macs <= 0.5 * found.dense.macs
    assert point.measurement.score is None
    assert all((choice.form.rank or 0) % 4 == 0 for choice in point.plan.choices.values())
    assert all(len(removal.kept) % 4 == 0 for removal in point.plan.removals.values())


def test_accuracy_refuses_what_can_be_read_once(digits):
    for once in (iter(digits.test), (pair for pair in digits.test), zip([1], [2], strict=True)):
        with pytest.raises(InputError, match="can be read only once: pass a list or a DataLoader"):
            accuracy(once)


def test_accuracy_takes_loaders_and_leaves_the_random_state(digits):
    loader = DataLoader(
        TensorDataset(*map(torch.cat, zip(*digits.test, strict=True))), 64, shuffle=True
    )
    state = torch.get_rng_state()
    score = accuracy(loader)(digits.model)
    assert score.value == accuracy(digits.test)(digits.model).value
    assert score.n == 397
    assert torch.equal(torch.get_rng_state(), state)


def test_accuracy_needs_pairs(digits):
    with pytest.raises(InputError, match=r"batches of \(inputs, targets\)"):
        accuracy([digits.test[0][0]])(digits.model)
    with pytest.raises(InputError, match="gave no batch"):
        accuracy([])(digits.model)
