"""What goes out as JSON comes back equal; what never went out is refused."""

import json
from copy import deepcopy
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

import pytest
import torch

from eckart.errors import CheckpointError, InputError, MismatchError
from eckart.methods import (
    canonical_form,
    low_rank_form,
    spatial_form,
    tucker2_form,
)
from eckart.records import (
    Budget,
    Choice,
    Form,
    Frontier,
    LayerSpec,
    Measurement,
    Piece,
    Plan,
    Point,
    Score,
)

LINEAR = Piece(8, 6, bias=True)
CONV = Piece(
    8,
    6,
    (3, 5),
    stride=(2, 1),
    padding=(1, 2),
    dilation=(1, 2),
    groups=2,
    bias=True,
    padding_mode="reflect",
)
FORMS = {
    "dense": Form((CONV,)),
    "linear": low_rank_form(LINEAR, 3),
    "pivoted": low_rank_form(LINEAR, 3, pivoted=True),
    "conv": low_rank_form(CONV, 2),
    "vertical": spatial_form(CONV, (0,), 2),
    "horizontal": spatial_form(CONV, (1,), 3),
    "tucker": tucker2_form(CONV, 2, 3),
}
SCORE = Score(0.75, n=400, error=0.02)
BUDGETS = [
    Budget(params=0.5),
    Budget(macs=1000, bytes=1.0, of="sites"),
    Budget(params=1, costs={"latency": 0.3}),
    Budget(params=0.5, of="reached"),
]


def through_text(data: Any) -> Any:
    return json.loads(json.dumps(data, allow_nan=False))


def plan(loss: float = 0.1, budget: Budget | None = BUDGETS[0]) -> Plan:
    choices = {"a.0": Choice("weighted_svd", FORMS["linear"], loss)}
    costs, totals = {"params": 60, "macs": 90}, {"params": 100, "macs": 190}
    return Plan(
        choices=choices,
        dense={"head": "dense is best here"},
        loss=loss,
        costs=costs,
        totals=totals,
        fingerprint="f00",
        damping=1e-6,
        budget=budget,
    )


def measurement(score: Score | None = SCORE) -> Measurement:
    return Measurement(
        params=10,
        macs=20,
        bytes=40,
        latency_ms=1.5,
        latency_spread_ms=0.1,
        batch=4,
        layer_macs={"a.0": 20},
        score=score,
    )


def frontier() -> Frontier:
    points = [
        Point(keep=k, label="eckart", plan=plan(loss=k), measurement=measurement(), drop_error=e)
        for k, e in ((0.5, 0.01), (1.0, None))
    ]
    return Frontier(dense=measurement(None), points=tuple(points), cost="params", fingerprint="f00")


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_forms_come_back(form: Form):
    assert Form.from_json(through_text(form.as_json())) == form


def test_layer_specs_come_back():
    for form, sizes in ((FORMS["dense"], ((8, 9), (4, 4))), (Form((LINEAR,)), ((7,),))):
        spec = LayerSpec(
            name="block.conv",
            type="conv2d",
            dense=form,
            sizes=sizes,
            itemsize=2,
            input="block.other",
        )
        assert LayerSpec.from_json(through_text(spec.as_json())) == spec


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_budgets_come_back(budget: Budget):
    again = Budget.from_json(through_text(budget.as_json()))
    assert again == budget
    assert {k: type(v) for k, v in again.limits.items()} == {
        k: type(v) for k, v in budget.limits.items()
    }


def test_a_budget_is_the_same_by_name_and_among_the_costs():
    assert Budget(costs={"params": 0.5, "latency": 3}) == Budget(params=0.5, costs={"latency": 3})


@pytest.mark.parametrize("budget", [None, *BUDGETS], ids=str)
def test_plans_come_back(budget: Budget | None):
    before = plan(budget=budget)
    assert Plan.from_json(json.loads(before.dumps())) == before


@pytest.mark.parametrize("score", [None, SCORE, Score(3, n=None, higher_is_better=False)], ids=str)
def test_measurements_come_back(score: Score | None):
    before = measurement(score)
    assert Measurement.from_json(through_text(before.as_json())) == before


def test_a_score_keeps_its_error_but_not_its_samples():
    score = Score(0.5, n=4, samples=torch.tensor([0.0, 1.0, 0.0, 1.0]))
    again = Measurement.from_json(through_text(measurement(score).as_json())).score
    assert again is not None
    assert again.samples is None
    assert again.standard_error == pytest.approx(score.standard_error)


def test_frontiers_come_back(tmp_path: Path):
    before = frontier()
    assert Frontier.from_json(through_text(before.as_json())) == before
    before.save(tmp_path / "frontier.json")
    assert Frontier.load(tmp_path / "frontier.json") == before
    assert [path.name for path in tmp_path.iterdir()] == ["frontier.json"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", "5", "{}", '{"points": 3}', '{"points": [null]}', "\ud800"],
)
def test_damaged_frontiers_are_refused(text: str, tmp_path: Path):
    (tmp_path / "frontier.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(CheckpointError, match=r"frontier\.json"):
        Frontier.load(tmp_path / "frontier.json")


@pytest.mark.parametrize("key", ["dense", "points", "cost", "fingerprint"])
@pytest.mark.parametrize("value", [None, 3, "text", [], {"a": 1}])
def test_frontiers_of_another_structure_are_refused(key: str, value: Any, tmp_path: Path):
    data = frontier().as_json()
    if isinstance(value, type(data[key])):
        pytest.skip("of the right type")
    (tmp_path / "f.json").write_text(json.dumps({**data, key: value}))
    with pytest.raises(CheckpointError):
        Frontier.load(tmp_path / "f.json")


def test_a_missing_frontier_is_an_error_but_no_obstacle_to_a_first_run(tmp_path: Path):
    with pytest.raises(CheckpointError):
        Frontier.load(tmp_path / "none.json")
    assert frontier().resumed(tmp_path / "none.json", {(0.5, "eckart"): plan()}) == {}


def test_only_points_of_the_same_plans_are_resumed(tmp_path: Path):
    saved, path = frontier(), tmp_path / "f.json"
    saved.save(path)
    asked = {(0.5, "eckart"): plan(loss=0.5), (1.0, "eckart"): plan(loss=7.0), (0.5, "svd"): plan()}
    kept = {k: p for k, p in saved.resumed(path, asked).items() if k in asked}
    assert kept == {(0.5, "eckart"): saved.points[0]}
    with pytest.raises(MismatchError, match="another network"):
        replace(saved, fingerprint="f01").resumed(path, asked)


HOSTILE_FIELDS = [
    ("inputs", 0),
    ("inputs", -8),
    ("inputs", 8.0),
    ("inputs", True),
    ("inputs", "8"),
    ("inputs", None),
    ("inputs", [8]),
    ("outputs", 2**31),
    ("outputs", 10**30),
    ("outputs", 7),
    ("groups", 0),
    ("groups", 3),
    ("groups", True),
    ("kernel", [3]),
    ("kernel", [3, 0]),
    ("kernel", [3, True]),
    ("kernel", [3, 2.0]),
    ("kernel", [3, 3, 3, 3]),
    ("kernel", "33"),
    ("kernel", 3),
    ("kernel", {"0": 3, "1": 3}),
    ("kernel", [[3], [3]]),
    ("stride", [0, 1]),
    ("stride", []),
    ("padding", [-1, 0]),
    ("padding", None),
    ("dilation", [1, -1]),
    ("bias", 1),
    ("bias", None),
    ("padding_mode", None),
    ("padding_mode", ["zeros"]),
]


@pytest.mark.parametrize(("key", "value"), HOSTILE_FIELDS, ids=str)
def test_a_hostile_field_is_refused(key: str, value: Any):
    data = FORMS["conv"].as_json()
    data[0][key] = value
    with pytest.raises(CheckpointError):
        Form.from_json(data)


@pytest.mark.parametrize(
    "data",
    [None, {}, [], "form", 3, [None], [[]], [{}], [{"inputs": 1}], FORMS["dense"].as_json() * 9],
    ids=lambda data: f"{data!r:.20}",
)
def test_a_hostile_structure_is_refused(data: Any):
    with pytest.raises(CheckpointError):
        Form.from_json(data)


def test_an_extra_or_a_missing_field_is_refused():
    for change in (lambda piece: piece.update(weights=3), lambda piece: piece.pop("bias")):
        data = deepcopy(FORMS["conv"].as_json())
        change(data[1])
        with pytest.raises(CheckpointError, match=r"form\.pieces\[1\]: .*(no field|missing)"):
            Form.from_json(data)


def changed(form: Form, index: int, **fields: Any) -> Form:
    pieces = list(form.pieces)
    pieces[index] = replace(pieces[index], **fields)
    return Form(tuple(pieces))


MISFITS = {
    "its ends": low_rank_form(replace(CONV, inputs=10), 2),
    "do not join": changed(FORMS["conv"], 0, outputs=6),
    "wider than": low_rank_form(CONV, 10**6),
    "its kernels": changed(FORMS["conv"], 0, kernel=(3, 3)),
    "its kernels do not": changed(FORMS["vertical"], 1, stride=(2, 1)),
    "kernels do not compose": Form((FORMS["linear"].pieces[0], CONV)),
    "padding mode": changed(FORMS["vertical"], 1, padding_mode="zeros"),
    "its groups": changed(FORMS["conv"], 1, groups=1),
    "padding mode differs": changed(FORMS["conv"], 0, padding_mode="__import__"),
    "bias is misplaced": changed(FORMS["conv"], 0, bias=True),
    "bias is": changed(FORMS["conv"], 1, bias=False),
}


@pytest.mark.parametrize(("problem", "form"), MISFITS.items(), ids=MISFITS)
def test_a_form_that_does_not_fit_the_layer_is_refused(problem: str, form: Form):
    with pytest.raises(CheckpointError, match=problem):
        form.check_replaces(CONV)


ONE_GROUP = replace(CONV, groups=1)
CP = canonical_form(ONE_GROUP, 4)
CP_MISFITS = {
    "depthwise at the start": Form((replace(CP.pieces[0], inputs=4, groups=4), *CP.pieces[1:])),
    "depthwise twice in the same shapes": Form(
        (replace(CP.pieces[1].pointwise(4, 4), groups=4),) * 2 + CP.pieces[1:]
    ),
    "two groups inside": changed(CP, 1, groups=2),
    "depthwise at the end": changed(CP, 2, outputs=4, groups=4),
    "the work done twice": Form((*CP.pieces[:2], *CP.pieces[1:])),
    "vast": canonical_form(ONE_GROUP, 10**6),
}


@pytest.mark.parametrize("form", CP_MISFITS.values(), ids=CP_MISFITS)
def test_a_depthwise_piece_is_taken_only_between_others(form: Form):
    CP.check_replaces(ONE_GROUP)
    with pytest.raises(CheckpointError, match="cannot replace"):
        form.check_replaces(ONE_GROUP)


PIVOTED = FORMS["pivoted"]
CARRYING_MISFITS = {
    "some inputs": changed(PIVOTED, 1, carries=2),
    "more than the inputs": changed(PIVOTED, 1, carries=4),
    "at the start": changed(PIVOTED, 0, carries=3),
    "nothing beside the inputs": changed(low_rank_form(LINEAR, 6), 1, carries=6),
}


@pytest.mark.parametrize("form", CARRYING_MISFITS.values(), ids=CARRYING_MISFITS)
def test_the_last_piece_carries_all_its_inputs_or_none(form: Form):
    PIVOTED.check_replaces(LINEAR)
    with pytest.raises(CheckpointError, match="a piece carries that cannot"):
        form.check_replaces(LINEAR)


def test_ranks_are_the_widths_between_per_group():
    ranks = {name: form.ranks for name, form in FORMS.items()}
    assert (ranks["dense"], ranks["conv"], ranks["tucker"]) == ((), (2,), (3, 2))
    assert (FORMS["dense"].rank, FORMS["tucker"].rank, CP.rank) == (None, 2, 4)


@pytest.mark.parametrize("name", ["dense", "conv", "vertical", "horizontal", "tucker"])
def test_a_form_that_fits_is_taken(name: str):
    FORMS[name].check_replaces(CONV)
    with pytest.raises(CheckpointError):
        FORMS[name].check_replaces(LINEAR)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"params": 0},
        {"params": 0.0},
        {"params": -1},
        {"params": 1.5},
        {"params": nan},
        {"params": True},
        {"costs": {"latency": 2.0}},
    ],
    ids=str,
)
def test_a_budget_out_of_range_is_refused(arguments: dict[str, Any]):
    with pytest.raises(InputError, match="budget"):
        Budget(**arguments)


@pytest.mark.parametrize(
    "arguments", [{"params": "0.5"}, {"params": 0.5, "of": "network"}], ids=str
)
def test_a_budget_read_from_hostile_json_is_refused(arguments: dict[str, Any]):
    with pytest.raises(CheckpointError, match=r"budget\.(params|of): expected"):
        Budget.from_json({"of": "model", **arguments})


def test_a_frontier_is_printed_a_line_for_each_network():
    plan = Plan(choices={}, dense={}, loss=0.0, costs={}, totals={}, fingerprint="f", damping=1e-6)
    small = Measurement(params=1200, macs=3400, bytes=4800, latency_ms=1.2345, score=Score(0.9))
    found = Frontier(
        dense=Measurement(params=2400, macs=5000, bytes=9600),
        points=(Point(keep=0.5, label="eckart", plan=plan, measurement=small),),
        cost="params",
        fingerprint="f",
    )
    assert str(found).splitlines() == [
        "dense                  2,400 parameters, 5,000 multiply-adds",
        "eckart, 0.5 of params  1,200 parameters, 3,400 multiply-adds, 1.23 ms, score 0.9",
    ]
