"""What a file says is checked against the network before anything is done to it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import eckart
from eckart import Moments, Plan
from eckart.errors import CheckpointError, MismatchError
from eckart.methods.low_rank import low_rank_form
from eckart.records import Choice
from eckart.storage.reading import write_sealed
from resealed import with_metadata, with_tensors


@pytest.fixture(scope="module")
def made() -> tuple[nn.Module, Moments, Plan]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 20), nn.ReLU(), nn.Linear(20, 4)
    )
    moments = eckart.calibrate(model, [torch.randn(64, 12)])
    plan = eckart.allocate(eckart.curves(model, moments), eckart.Budget(params=0.4))
    return model, moments, plan


def removal_with(plan: Plan, **changed: Any) -> Plan:
    """The plan with its first group changed as somebody would in a file."""
    data = json.loads(json.dumps(plan.as_json()))
    name = next(iter(data["removals"]))
    for path, value in changed.items():
        side, _, layer = path.partition("__")
        part = data["removals"][name]["group"][side]
        part[layer or next(iter(part))] = value
    return Plan.from_json(data)


def test_the_plan_removes_channels_and_is_applied(made):
    model, moments, plan = made
    assert plan.removals
    eckart.apply(model, Plan.loads(plan.dumps()), moments)


def test_channels_that_a_layer_does_not_have_are_refused(made):
    model, moments, plan = made
    group = next(iter(plan.removals.values())).group
    beyond = [[10**9 + unit] for unit in range(group.size)]
    for changed, message in (
        ({"readers": beyond}, r"has channel 1\d+ of '\d', which has \d+"),
        ({"writers": beyond}, r"has channel 1\d+ of '\d', which has \d+"),
        ({"readers__9": [[unit] for unit in range(group.size)]}, "layers without moments: 9"),
        ({"followers__9": [[unit] for unit in range(group.size)]}, "removes channels of '9'"),
    ):
        with pytest.raises(MismatchError, match=message):
            eckart.apply(model, removal_with(plan, **changed), moments)


def test_forms_of_other_widths_or_methods_are_refused(made):
    model, moments, plan = made
    dense = moments.specs["4"].piece
    for choice, message in (
        (Choice("weighted_svd", low_rank_form(dense, 2), 0.0), "its removals leave"),
        (Choice("weighted_svd", low_rank_form(replace(dense, outputs=99), 2), 0.0), "its ends"),
    ):
        choices = {**plan.choices, "4": choice}
        with pytest.raises(MismatchError, match=message):
            eckart.apply(model, replace(plan, choices=choices), moments)
    nothing = {"removals": {}, "choices": {"4": Choice("cp", low_rank_form(dense, 2), 0.0)}}
    with pytest.raises(MismatchError, match="cp cannot make the form"):
        eckart.apply(model, replace(plan, **nothing), moments)


@pytest.mark.parametrize("name", ["gram/9", "output/9", "total/9"])
def test_sums_of_no_layer_are_refused(made, tmp_path: Path, name: str):
    made[1].save(tmp_path / "moments")

    def with_surplus(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {**tensors, name: torch.zeros(1, 3, 3, dtype=torch.float64)}

    with_tensors(tmp_path / "moments", with_surplus)
    with pytest.raises(CheckpointError, match=f"'{name}' does not belong to any layer"):
        Moments.load(tmp_path / "moments")


def test_a_cost_that_is_not_registered_here_is_left_out(made, tmp_path: Path):
    model, moments, _ = made
    moments.save(tmp_path / "moments")

    def with_joules(metadata: dict[str, str]) -> dict[str, str]:
        meta = json.loads(metadata["moments"])
        meta["model_costs"]["joules"] = 3
        return {**metadata, "moments": json.dumps(meta)}

    with_metadata(tmp_path / "moments", with_joules)
    options = eckart.curves(model, Moments.load(tmp_path / "moments"), methods=["svd"])
    plan = eckart.allocate(options, eckart.Budget(params=0.9))
    assert set(plan.costs) == {"params", "macs", "bytes"}


def test_a_workspace_of_fewer_layers_than_it_holds_is_refused(made, tmp_path: Path):
    eckart.calibrate(made[0], [torch.randn(64, 12)], workspace=tmp_path)
    path = tmp_path / "workspace.json"
    content = json.loads(path.read_text())
    del content["digest"], content["settings"]["layers"][1]
    write_sealed(path, content)
    with pytest.raises(CheckpointError, match="holds moments of 2, which it is not of"):
        Moments.load(tmp_path)


def workspace_of(folder: Path, change: Any) -> tuple[nn.Module, Moments]:
    """A network whose one decomposition on disk is changed, with digests that are right."""
    torch.manual_seed(0)
    model, batches = nn.Sequential(nn.Linear(12, 8)), [torch.randn(64, 12)]
    moments = eckart.calibrate(model, batches, workspace=folder)
    eckart.curves(model, moments, methods=["weighted_svd"])
    (path,) = (folder / "decompositions").iterdir()
    with_tensors(path, change)
    return model, Moments.load(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: {**t, "0": t["0"].flatten()},
        lambda t: {**t, "0": t["0"].long()},
        lambda t: {**t, "1": t["1"][..., :0]},
        lambda t: {**t, "1": t["1"][:, :3]},
        lambda t: {**t, "2": t["2"][:-1]},
        lambda t: {**t, "2": t["2"] * float("nan")},
        lambda t: {"0": t["0"], "1": t["1"]},
    ],
)
def test_a_decomposition_of_other_shapes_is_refused(tmp_path: Path, change: Any):
    model, moments = workspace_of(tmp_path, change)
    with pytest.raises(CheckpointError, match="delete it"):
        eckart.curves(model, moments, methods=["weighted_svd"])


def test_a_number_of_a_tensor_that_is_infinite_is_refused(tmp_path: Path):
    model, moments = workspace_of(tmp_path, lambda tensors: tensors)
    (path,) = (tmp_path / "decompositions").iterdir()

    def infinite(metadata: dict[str, str]) -> dict[str, str]:
        return {**metadata, "structure": metadata["structure"].replace(": 0}", ": Infinity}", 1)}

    with_metadata(path, infinite)
    with pytest.raises(CheckpointError, match="delete it"):
        eckart.curves(model, moments, methods=["weighted_svd"])


@pytest.mark.parametrize(
    "changed", [{"groups": 0}, {"outputs": -8}, {"kernel": "3"}, {"inputs": 9}]
)
def test_a_decomposition_of_another_layer_is_refused(tmp_path: Path, changed: dict[str, Any]):
    model, moments = workspace_of(tmp_path, lambda tensors: tensors)
    (path,) = (tmp_path / "decompositions").iterdir()

    def with_piece(metadata: dict[str, str]) -> dict[str, str]:
        structure = json.loads(metadata["structure"])
        structure["piece"] |= changed
        return {**metadata, "structure": json.dumps(structure)}

    with_metadata(path, with_piece)
    with pytest.raises(CheckpointError, match="delete it"):
        eckart.curves(model, moments, methods=["weighted_svd"])
