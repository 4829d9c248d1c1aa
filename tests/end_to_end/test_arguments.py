"""What compress refuses before anything costly is done."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import eckart
from eckart import Budget, calibrate, compress
from eckart.errors import InputError


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 8)).eval()


class Watched:
    """Batches that know whether they were read."""

    def __init__(self) -> None:
        self.read = 0

    def __iter__(self) -> Iterator[Tensor]:
        self.read += 1
        yield torch.randn(4, 12)


@pytest.mark.parametrize("wrong", [{"methods": ["wsvd"]}, {"dense": ["head"]}], ids=str)
def test_names_are_checked_before_calibration(wrong: dict[str, list[str]]):
    batches = Watched()
    with pytest.raises(InputError):
        compress(network(), batches, keep=0.5, **wrong)
    assert batches.read == 0


def test_arguments_that_would_be_ignored_are_refused():
    model = network()
    moments = calibrate(model, [torch.randn(4, 12)])
    with pytest.raises(InputError, match="of= goes with keep="):
        compress(model, moments, budget=Budget(params=0.5), of="sites")
    with pytest.raises(InputError, match="already have a metric and a seed"):
        compress(model, moments, keep=0.5, metric="fisher")


def test_a_plan_is_applied_with_the_moments_it_was_made_from():
    model = network()
    moments = calibrate(model, [torch.randn(4, 12)])
    other = calibrate(model, [torch.randn(4, 12)])
    plan = eckart.allocate(eckart.curves(model, moments), Budget(params=0.7))
    with pytest.raises(eckart.errors.MismatchError, match="other moments"):
        eckart.apply(model, plan, other)


def test_a_frontier_file_in_no_folder_is_refused_before_measuring(tmp_path):
    model = network()
    moments = calibrate(model, [torch.randn(4, 12)])
    with pytest.raises(InputError, match="does not exist"):
        eckart.frontier(model, moments, None, path=tmp_path / "none" / "f.json")


def test_a_limit_given_twice_is_refused():
    with pytest.raises(InputError, match="twice"):
        Budget(params=0.5, costs={"params": 0.4})
