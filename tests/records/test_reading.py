"""Data of any other type, range or shape than a record's fields have end in one error."""

import json
from typing import Any

import pytest

from eckart.errors import CheckpointError
from eckart.records import ChannelGroup, Choice, Form, LayerSpec, Measurement, Piece, Plan, Removal
from eckart.records.excerpts import excerpt

DEEP: Any = []
for _ in range(900):
    DEEP = [DEEP]
FORM = Form((Piece(8, 3), Piece(3, 6, bias=True)))
GROUP = ChannelGroup(
    name="a", size=3, writers={"a": ((0,), (1,), (2,))}, readers={"b": ((0, 1), (2,), (3,))},
    followers={"norm": ((0,), (1,), (2,))},
)  # fmt: skip
REMOVAL = Removal(group=GROUP, method="largest_norm", kept=(0, 2), loss=0.5)
PLAN = Plan(
    choices={"b": Choice("weighted_svd", FORM, 0.25)},
    dense={"head": "dense is best here"},
    loss=0.75,
    costs={"params": 60},
    totals={"params": 100, "macs": 190},
    fingerprint="f00",
    damping=1e-6,
    removals={"a": REMOVAL},
    bound=0.5,
)


def altered(path: str, value: Any) -> dict[str, Any]:
    """The plan as JSON, with one value of it replaced; a path that ends in ! is removed."""
    data = json.loads(json.dumps(PLAN.as_json()))
    *way, last = path.rstrip("!").split(".")
    place = data
    for name in way:
        place = place[int(name) if isinstance(place, list) else name]
    key = int(last) if isinstance(place, list) else last
    if path.endswith("!"):
        del place[key]
    else:
        place[key] = value
    return data


WRONG = {
    "loss": [None, "0.5", True, [], {}, float("nan"), float("inf"), 10**400, DEEP],
    "choices": [None, [], 3, "b", {"b": None}, {"b": []}, {3: {}}],
    "choices.b.method": [None, 3, ["svd"], {}, "\ud800"],
    "choices.b.form": [None, {}, "form", 3, [], [None], DEEP, [[]] * 9],
    "choices.b.form.0.inputs": [0, -8, 8.0, True, "8", None, [8], 2**31, 10**30],
    "choices.b.form.0.kernel": [3, "33", [3], [3, 3], [3] * 4, {"0": 3}, [[3]], [True]],
    "choices.b.form.1.bias": [1, None, "true"],
    "choices.b.form.1.carries": [-1, 0.5, None, True, 2**31],
    "choices.b.form.1.groups": [4, 0],
    "dense.head": [None, 3, []],
    "costs": [{"params": -1}, {"params": 0.5}, {"params": True}, {"joules": 3}, []],
    "budget": [3, [], {}, {"params": 2.0, "of": "model"}, {"of": "all", "params": 0.5}],
    "fingerprint": [3, None],
    "removals.a.kept": [[], [3], [-1], [2, 0], [0, 0], [0.0], "02", None, [10**30]],
    "removals.a.group.size": [10**18, 2, 4, -3, 0, 3.0, True, None],
    "removals.a.group.name": ["b", None],
    "removals.a.group.writers.a": [[], [[0], [1]], [[0], [1], [1]], [[0], [1], 2], [[0], [-2], []]],
    "removals.a.group.readers": [None, [], {"b": None}],
    "choices.b.loss!": [None],
    "removals!": [None],
    "removals.a.group.followers!": [None],
    "surplus": [None, 3],
    "choices.b.surplus": [3],
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value"),
    [(path, value) for path, values in WRONG.items() for value in values],
    ids=lambda value: excerpt(value)[:30],
)
def test_what_is_wrong_is_refused_by_its_place(path: str, value: Any):
    with pytest.raises(CheckpointError) as caught:
        Plan.from_json(altered(path, value))
    message = str(caught.value)
    assert len(message) < 400
    assert message.startswith("plan")
    assert message.isascii()


def test_the_message_says_where_what_and_what_was_found():
    with pytest.raises(CheckpointError) as caught:
        Plan.from_json(altered("choices.b.form.1.inputs", -3))
    assert str(caught.value) == (
        "plan.choices['b'].form.pieces[1].inputs: expected a whole number of at least 1, got -3"
    )


def test_the_plan_itself_comes_back():
    assert Plan.from_json(altered("loss", 0.75)) == PLAN
    assert Plan.loads(PLAN.dumps()) == PLAN


def test_a_whole_number_is_a_loss_too():
    found = Plan.from_json(altered("loss", 1)).loss
    assert (found, type(found)) == (1.0, float)


def test_a_plan_that_was_changed_is_refused_unless_on_purpose():
    text = PLAN.dumps().replace('"loss": 0.25', '"loss": 0.125')
    with pytest.raises(CheckpointError, match=r"not match its digest; .*delete its entry 'digest'"):
        Plan.loads(text)
    changed = json.loads(text)
    del changed["digest"]
    assert Plan.from_json(changed).choices["b"].loss == 0.125


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, '{"loss": NaN}', '{"loss": ' + "9" * 5000 + "}", b"\xff", "3"]
)
def test_what_is_not_a_plan_is_refused(text: str | bytes):
    with pytest.raises(CheckpointError):
        Plan.loads(text)


def test_a_total_of_nothing_can_be_printed():
    plan = Plan.from_json(altered("totals.params", 0))
    assert str(plan).endswith("keeps 60.000 of params")


def test_specs_and_measurements_are_read_in_the_same_way():
    spec = {"name": "a", "type": "linear", "sizes": [[1, 2]], "itemsize": 4, "input": "a"}
    with pytest.raises(CheckpointError, match=r"^layerspec: an input of 1 axes has sizes"):
        LayerSpec.from_json({**spec, "dense": [FORM.as_json()[0]]})
    with pytest.raises(CheckpointError, match=r"^layerspec: its dense form must have one piece"):
        LayerSpec.from_json({**spec, "dense": FORM.as_json()})
    data = Measurement(params=3, macs=4, bytes=12).as_json()
    with pytest.raises(CheckpointError, match=r"^measurement\.params: expected a whole number"):
        Measurement.from_json({**data, "params": -3})
