"""Curves and frontiers by several processes, and what another call takes from the first."""

import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import eckart
from eckart.errors import CheckpointError, FrontierInterrupted, InputError, MismatchError
from eckart.methods import METHODS, Cache
from eckart.records import Curves
from eckart.stages.curves.first import first_curves
from extensions.method import OutputRows
from stages.networks import SmallCnn, mlp

pytest.importorskip("torch_pruning")  # here, so that copies of this process need not import it
FEW = ["weighted_svd", "spatial", "backward_elimination"]


class Unpicklable(SmallCnn):
    """A network with a function that no file can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Callable[[Tensor], Tensor] = lambda x: x * 1.0

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.before(x))


def network(make: Callable[[], nn.Module] = lambda: mlp(12, 16, 10, 4)) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().eval()


def batches(seed: int = 0, *shape: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(8, *(shape or (12,)), generator=generator) for _ in range(3)]


def calibrated(model: nn.Module, **where: Any) -> eckart.Moments:
    data = batches(0, 3, 8, 8) if isinstance(model, SmallCnn) else batches()
    return eckart.calibrate(model, data, progress=False, **where)


def predicted(model: nn.Module, moments: eckart.Moments, **how: Any) -> Curves:
    return eckart.curves(model, moments, progress=False, **{"methods": FEW, **how})


def check_same(one: Curves, other: Curves) -> None:
    assert [curve.site for curve in one.curves] == [curve.site for curve in other.curves]
    for ours, theirs in zip(one.curves, other.curves, strict=True):
        assert ours.options == theirs.options
    assert one.groups == other.groups
    assert one.whole == other.whole


@pytest.fixture
def begun(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The names of the files that were begun since it was asked last."""
    caplog.set_level(logging.INFO, "eckart")

    def told() -> list[str]:
        lines = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return [line.removeprefix("decomposing ") for line in lines if "decomposing" in line]

    return told


@pytest.mark.parametrize(
    "how",
    [
        {"methods": "auto", "limits": "bytes", "bits": (3, 8)},
        {"rescale": True, "multiple": 2, "dense": ["conv2"]},
        {"methods": ["tucker2"], "damping": 0.01},
    ],
)
def test_two_workers_give_what_one_gives_to_the_bit(how: dict[str, Any], monkeypatch: Any):
    monkeypatch.setattr("eckart.methods.canonical._SHARES", (0.3, 0.6))
    model = network(SmallCnn)
    moments = calibrated(model)
    one, two = (predicted(model, moments, workers=workers, **how) for workers in (1, 2))
    check_same(one, two)
    smaller = [eckart.apply(model, eckart.hull(c, cost="params")[3], moments) for c in (one, two)]
    weights = [net.state_dict() for net in smaller]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_network_that_does_not_pickle_and_a_method_of_the_user(monkeypatch: Any):
    monkeypatch.setitem(METHODS, "rows", OutputRows())
    model = network(Unpicklable)
    moments = calibrated(model)
    how: dict[str, Any] = {"methods": ["rows", "weighted_svd"]}
    check_same(predicted(model, moments, **how), predicted(model, moments, workers=2, **how))


@pytest.mark.parametrize("workers", [0, -2, True, 1.5, "two", "Ray", None])
def test_workers_that_make_no_sense(workers: Any):
    model = network()
    with pytest.raises(InputError, match=r"workers=.*: give a number of processes, 1 or more"):
        predicted(model, calibrated(model), workers=workers)


def test_a_network_elsewhere_is_refused():
    model = network()
    moments = calibrated(model)
    with pytest.raises(InputError, match="the network is on meta, which other processes cannot"):
        eckart.compress(model.to("meta"), moments, keep=0.5, workers=2)


def prepared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Titles that the cache keeps, as they are made."""
    made: list[str] = []
    keep = Cache.keep

    def noted(cache: Cache, title: str, value: Any) -> Any:
        made.append(title)
        return keep(cache, title, value)

    monkeypatch.setattr(Cache, "keep", noted)
    return made


def test_earlier_curves_are_used_again(monkeypatch: pytest.MonkeyPatch):
    model, made = network(), prepared(monkeypatch)
    moments = calibrated(model)
    first = predicted(model, moments, limits="params")
    assert made
    made.clear()
    again = predicted(model, moments, limits="macs", reuse=first)
    assert not made
    more = predicted(model, moments, methods=[*FEW, "svd"], reuse=first)
    assert made
    assert all(".svd" in title or " narrower " in title or "measured" in title for title in made)
    check_same(again, predicted(model, moments, limits="macs"))
    check_same(more, predicted(model, moments, methods=[*FEW, "svd"]))


@pytest.mark.parametrize(
    "changed", [{"damping": 0.1}, {"multiple": 4}, {"least_rank": 2}, {"dense": ["2"]}]
)
def test_what_depends_on_a_change_is_made_again(changed: dict[str, Any]):
    model = network()
    moments = calibrated(model)
    reused = predicted(model, moments, reuse=predicted(model, moments), **changed)
    check_same(reused, predicted(model, moments, **changed))


def test_curves_of_other_moments_are_refused():
    model = network()
    first = predicted(model, calibrated(model))
    others = eckart.calibrate(model, batches(1), progress=False)
    with pytest.raises(MismatchError, match=r"curves of other moments.*leave it out"):
        predicted(model, others, reuse=first)


@pytest.mark.parametrize("where", ["moments", "curves"])
def test_a_workspace_keeps_every_result(where: str, tmp_path: Path, begun: Callable[[], list[str]]):
    model = network()
    moments = calibrated(model, **({"workspace": tmp_path} if where == "moments" else {}))
    how: dict[str, Any] = {"workspace": tmp_path} if where == "curves" else {}
    first = predicted(model, moments, workers=2, **how)
    assert any(" narrower " in name for name in begun())
    check_same(first, predicted(model, moments, **how))
    assert not begun()
    check_same(first, predicted(model, moments))  # nothing kept, nothing reused


def test_other_data_in_the_same_folder_are_kept_apart(
    tmp_path: Path, begun: Callable[[], list[str]]
):
    model = network()
    others = eckart.calibrate(model, batches(1), progress=False)
    predicted(model, calibrated(model), workspace=tmp_path)
    begun()
    found = predicted(model, others, workspace=tmp_path)
    assert begun()
    check_same(found, predicted(model, others))


def test_a_damaged_result_is_named(tmp_path: Path):
    model = network()
    moments = calibrated(model)
    predicted(model, moments, workspace=tmp_path)
    path = next(tmp_path.rglob("0 made narrower *.safetensors"))
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"0 made narrower .*delete it, and the same call"):
        predicted(model, moments, workspace=tmp_path)
    path.unlink()
    check_same(predicted(model, moments, workspace=tmp_path), predicted(model, moments))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_driver_goes_on(workers: int, tmp_path: Path, begun: Callable[[], list[str]]):
    model = network()
    moments = calibrated(model)
    number = os.fork()
    if number == 0:
        keep, kept = Cache.keep, []

        def killed(cache: Cache, title: str, value: Any) -> Any:
            if len(kept) == 6:
                os.kill(os.getpid(), signal.SIGKILL)
            kept.append(keep(cache, title, value))
            return value

        Cache.keep = killed  # type: ignore[method-assign]
        predicted(model, moments, workspace=tmp_path, workers=workers)
        os._exit(0)
    _, status = os.waitpid(number, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    before = {path.name for path in tmp_path.rglob("*.safetensors")}
    assert len(before) == 6
    found = predicted(model, moments, workspace=tmp_path, workers=workers)
    assert not before & {*begun()}
    check_same(found, predicted(model, moments))


def scored(model: nn.Module) -> float:
    with torch.no_grad():
        data = batches(5, 3, 8, 8) if hasattr(model, "conv1") else batches(5)
        return float(model(data[0]).sum())


def test_a_frontier_by_two_workers(tmp_path: Path):
    model = network(Unpicklable)
    moments = calibrated(model)
    options = predicted(model, moments)
    seen: list[int] = []

    def evaluate(smaller: nn.Module) -> float:
        seen.append(os.getpid())  # of the copy that evaluates
        return scored(smaller)

    how: dict[str, Any] = {"keeps": (0.8, 0.6, 0.5), "options": options, "progress": False}
    one = eckart.frontier(model, moments, evaluate, **how)
    here = len(seen)
    path = tmp_path / "points.json"
    two = eckart.frontier(model, moments, evaluate, workers=2, path=path, **how)
    assert len(seen) == here + 1, "only the dense network was evaluated in this process"
    assert one.as_json() == two.as_json()
    assert eckart.Frontier.load(path).as_json() == one.as_json()


def test_an_interrupted_frontier_keeps_its_points(tmp_path: Path):
    model = network()
    moments = calibrated(model)
    path = tmp_path / "points.json"

    def evaluate(smaller: nn.Module) -> float:
        if sum(p.numel() for p in smaller.parameters()) < 300:
            while not path.exists():  # until the other point is done
                time.sleep(0.01)
            raise RuntimeError("too small")
        return scored(smaller)

    how: dict[str, Any] = {"keeps": (0.8, 0.5), "baselines": False, "progress": False}
    how |= {"options": predicted(model, moments), "path": path, "workers": 2}
    with pytest.raises(FrontierInterrupted, match="too small") as caught:
        eckart.frontier(model, moments, evaluate, **how)
    assert [point.keep for point in caught.value.frontier.points] == [0.8]
    assert [point.keep for point in eckart.Frontier.load(path).points] == [0.8]


def test_networks_that_are_timed_must_be_alone():
    model = network()
    with pytest.raises(InputError, match="slow each other down"):
        eckart.frontier(model, calibrated(model), None, latency=True, workers=2)


def test_a_first_look_bounds_the_losses_and_is_used_again(monkeypatch: pytest.MonkeyPatch):
    model, made = network(), prepared(monkeypatch)
    moments = calibrated(model)
    first = first_curves(model, moments, progress=False)
    assert {option.method for curve in first.curves for option in curve.options} == {
        "weighted_svd", "dense",
    }  # fmt: skip
    assert len(made) == 3, "one decomposition per layer, and nothing else"
    known = set(made)
    found = predicted(model, moments, reuse=first)
    assert not known & {*made[3:]}
    check_same(found, predicted(model, moments))
    for keep in (0.8, 0.6, 0.4):
        budget = eckart.Budget(params=keep)
        most = eckart.allocate(first, budget).loss
        assert 0 < eckart.allocate(found, budget).loss < most


def test_there_is_no_first_look_without_low_rank():
    model = network()
    with pytest.raises(InputError, match="a first look is at low rank, and none of the methods"):
        first_curves(model, calibrated(model), methods=["backward_elimination"])
