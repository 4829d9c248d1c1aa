"""What long runs have found is not lost when the disk is full, data fail, or Ctrl-C comes."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import eckart
from eckart import Frontier, Moments, heal
from eckart.errors import (
    BudgetError,
    CheckpointError,
    CompressionInterrupted,
    FrontierInterrupted,
    HealingInterrupted,
    InputError,
    WriteError,
)
from eckart.pipeline import frontier
from eckart.report import write_report
from stages.heal.distilling import distance, labelled, student_of, teacher_network

KEEPS = (0.9, 0.7, 0.5)


class Dense:
    """A network with its moments, and calls of ``evaluate`` of which one may fail."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 4))
        self.moments: Moments = eckart.calibrate(self.model, [torch.randn(64, 12)])
        self.options = eckart.curves(self.model, self.moments)
        self.inputs = torch.randn(32, 12)
        self.targets = self._outputs(self.model)
        self.calls = 0

    def _outputs(self, model: nn.Module) -> Tensor:
        with torch.no_grad():
            return model(self.inputs)

    def evaluate(self, failing: int = 0, error: BaseException | None = None) -> Callable[..., Any]:
        self.calls = 0

        def score(model: nn.Module) -> float:
            self.calls += 1
            if self.calls == failing and error is not None:
                raise error
            return -float((self._outputs(model) - self.targets).square().mean())

        return score

    def frontier(self, evaluate: Callable[..., Any], path: Path | None) -> Frontier:
        return frontier(
            self.model,
            self.moments,
            evaluate,
            keeps=KEEPS,
            options=self.options,
            baselines=False,
            path=path,
        )


@pytest.fixture(scope="module")
def dense() -> Dense:
    return Dense()


def fill_disk(monkeypatch: pytest.MonkeyPatch, writes: int) -> None:
    """Let the disk be full after some files."""
    left, flush = [writes], os.fsync

    def fsync(number: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(number)

    monkeypatch.setattr(os, "fsync", fsync)


ERRORS = [KeyboardInterrupt(), ZeroDivisionError("no examples"), OSError("the disk is gone")]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("kept", [True, False], ids=["in a file", "in memory"])
def test_a_frontier_that_stops_hands_back_its_points(dense, tmp_path, error, kept):
    path = tmp_path / "f.json" if kept else None
    with pytest.raises(FrontierInterrupted, match="stopped after 2 of 3 networks") as caught:
        dense.frontier(dense.evaluate(4, error), path)
    assert caught.value.__cause__ is error
    assert [point.keep for point in caught.value.frontier.points] == [0.9, 0.7]
    whole = dense.frontier(dense.evaluate(), None)
    assert caught.value.frontier.points == whole.points[:2]
    if path is not None:
        assert Frontier.load(path) == caught.value.frontier
        assert dense.frontier(dense.evaluate(), path) == whole
        assert dense.calls == 2  # the dense network and the last point


def test_before_the_first_point_the_error_itself_is_raised(dense):
    with pytest.raises(ZeroDivisionError):
        dense.frontier(dense.evaluate(2, ZeroDivisionError()), None)


def test_a_full_disk_leaves_the_old_frontier_and_hands_back_the_new(dense, tmp_path, monkeypatch):
    path = tmp_path / "f.json"
    with monkeypatch.context() as patch:
        fill_disk(patch, 4)  # two files, each with its folder
        with pytest.raises(FrontierInterrupted, match="No space left on device") as caught:
            dense.frontier(dense.evaluate(), path)
    assert isinstance(caught.value.__cause__, WriteError)
    assert len(caught.value.frontier.points) == 3
    assert [point.keep for point in Frontier.load(path).points] == [0.9, 0.7]
    assert [file.name for file in tmp_path.iterdir()] == ["f.json"]
    assert dense.frontier(dense.evaluate(), path) == caught.value.frontier


@pytest.mark.parametrize("damage", ["", "{}", '{"digest": "f"}'])
def test_a_damaged_file_is_found_before_anything_is_measured(dense, tmp_path, damage):
    (tmp_path / "f.json").write_text(damage)
    with pytest.raises(CheckpointError, match=r"f\.json"):
        dense.frontier(dense.evaluate(), tmp_path / "f.json")
    assert dense.calls == 0


def test_a_place_that_cannot_be_written_is_found_before_anything_is_measured(dense, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WriteError, match="it is a pipe"):
        dense.frontier(dense.evaluate(), tmp_path / "pipe")
    assert dense.calls == 0


def healing(folder: Path | None, evaluate: Callable[..., Any] | None = None) -> Any:
    torch.manual_seed(0)
    teacher = teacher_network()
    student, batches = student_of(teacher), labelled(teacher)
    return heal(
        student,
        teacher,
        batches,
        treatments=["distil"],
        steps=40,
        checkpoint=folder,
        evaluate=evaluate or distance(teacher, batches),
    )


def test_a_full_disk_does_not_lose_the_best_network(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        fill_disk(patch, 6)
        with pytest.raises(HealingInterrupted, match=r"distil.*No space left on device") as caught:
            healing(tmp_path / "run")
    healed = caught.value.healed
    accepted = [step.score for step in healed.log if step.accepted]
    assert len(accepted) >= 2
    teacher = teacher_network_of_seed()
    found = distance(teacher, labelled(teacher))(healed.model)
    assert found.value < healed.before.value
    resumed, whole = healing(tmp_path / "run"), healing(None)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], tensor), name


def teacher_network_of_seed() -> nn.Module:
    torch.manual_seed(0)
    return teacher_network()


def test_an_evaluation_that_fails_does_not_lose_the_best_network():
    teacher = teacher_network_of_seed()
    student_of(teacher)
    judge, calls = distance(teacher, labelled(teacher)), []

    def evaluate(model: nn.Module) -> Any:
        calls.append(judge(model))
        if len(calls) == 5:
            raise ZeroDivisionError("no examples")
        return calls[-1]

    with pytest.raises(HealingInterrupted, match="ZeroDivisionError: no examples") as caught:
        healing(None, evaluate)
    assert judge(caught.value.healed.model).value == min(score.value for score in calls[:4])
    assert caught.value.healed.log[-1].note == "failed: ZeroDivisionError: no examples"


def test_where_nothing_better_was_found_the_error_itself_is_raised():
    def evaluate(model: nn.Module) -> float:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        healing(None, evaluate)


def test_a_report_is_written_whatever_its_command(dense, tmp_path, monkeypatch):
    curves = dense.options
    found = frontier(dense.model, dense.moments, None, keeps=(0.5,), options=curves)
    path = tmp_path / "page.html"
    write_report(found, curves, path, command="eckart frontier b\udcffd.pt", title="\ud800")
    assert r"eckart frontier b\udcffd.pt" in path.read_text()
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        fill_disk(patch, 0)
        with pytest.raises(WriteError, match="No space left"):
            write_report(found, curves, path)
    assert path.read_bytes() == before
    with pytest.raises(InputError, match="no points"):
        write_report(Frontier.from_json({**found.as_json(), "points": []}), curves, path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("judge", ["evaluate", "report"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_compress_hands_the_network_back_when_its_evaluation_fails(
    judge: str, error: BaseException
):
    dense = Dense()
    failing: Any = {judge: dense.evaluate(2, error)}
    with pytest.raises(CompressionInterrupted, match=type(error).__name__) as caught:
        eckart.compress(dense.model, dense.moments, keep=0.6, latency=False, **failing)
    found = caught.value.compressed
    again = eckart.compress(dense.model, dense.moments, keep=0.6, latency=False)
    assert torch.equal(found.model(dense.inputs), again.model(dense.inputs))
    assert found.plan == again.plan
    assert (found.before, found.after, found.no_gain) == (None, None, "")
    assert str(found) == str(found.plan)


def test_compress_hands_the_moments_back_whatever_fails_after_calibration():
    dense, batches = Dense(), [torch.randn(64, 12)]
    cases: list[tuple[type[Exception], dict[str, Any]]] = [
        (BudgetError, {"keep": 0.001}),
        (RuntimeError, {"tolerance": 1.0, "evaluate": dense.evaluate(2, RuntimeError("no"))}),
        (CompressionInterrupted, {"keep": 0.6, "evaluate": lambda _: 1 / 0}),
    ]
    for error, given in cases:
        with pytest.raises(error) as caught:
            eckart.compress(dense.model, batches, latency=False, **given)
        moments = caught.value.moments  # type: ignore[attr-defined]
        assert eckart.compress(dense.model, moments, keep=0.6).plan.moments == moments.digest
