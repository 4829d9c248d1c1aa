"""Tasks on a Ray cluster of two processors on this machine, which all tests of this file share."""

import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import eckart
from eckart.errors import EckartError, EckartWarning, InputError, NotConvergedWarning
from eckart.methods import METHODS, Cache
from eckart.records import Curves
from eckart.tasks import Task, on_ray, results_of
from eckart.tasks.ray_cluster import connected
from eckart.tasks.task import Text
from extensions.method import OutputRows
from stages.networks import mlp

pytest.importorskip("ray")


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Ray, connected."""
    import ray

    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setenv("RAY_worker_niceness", "0")  # its 15 stands still where other tests run
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=80 * 2**20,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        try:
            yield
        finally:
            ray.shutdown()


def task(work: Callable[[], str], title: str = "", **more: Any) -> Task:
    def made() -> Text:
        return Text(work())

    return Task(title, Text, made, sent=lambda: made, **more)


def done(*tasks: Task, cache: Cache | None = None) -> list[str]:
    found = {}
    with results_of(tasks, cache or Cache(2**20), "ray", progress=False) as results:
        for each, result in results:
            found[id(each)] = result.text
    return [found[id(each)] for each in tasks]


def where() -> str:
    return f"{os.getpid()} {torch.get_num_threads()}"


def test_tasks_are_done_elsewhere_with_one_thread_and_those_of_one_title_once(tmp_path: Path):
    def noted() -> str:
        with (tmp_path / "log").open("a") as file:
            file.write("x")
        return where()

    here = replace(task(where), sent=None)
    first, second, other, own = done(task(noted, "a"), task(noted, "a"), task(where), here)
    assert first == second
    assert (tmp_path / "log").read_text() == "x"
    for text in (first, other):
        number, threads = map(int, text.split())
        assert number != os.getpid()
        assert threads == 1
    assert own.split()[0] == str(os.getpid()), "what cannot be sent is done in this process"


def test_a_killed_worker_is_tried_again(tmp_path: Path):
    def once() -> str:
        if not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return "again"

    assert done(task(once), task(lambda: "b")) == ["again", "b"]


def test_what_is_always_killed_ends_with_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
):
    import ray

    def crashed(ref: object) -> None:
        raise ray.exceptions.WorkerCrashedError

    monkeypatch.setattr(ray, "get", crashed)
    with pytest.raises(EckartError, match=r"conv1: Ray gave up after 3 tries.*too little memory"):
        done(task(where, "conv1"))


def test_an_error_is_that_of_the_task_itself():
    def fails() -> str:
        raise KeyError("this one")

    with pytest.raises(KeyError, match="this one"):
        done(task(fails), task(lambda: "b"))


def test_what_fails_only_there_is_done_here_and_said():
    us = os.getpid()

    def fails() -> str:
        if os.getpid() != us:
            raise FileNotFoundError("photos/")
        return "a"

    with pytest.warns(EckartWarning, match=r"conv1 failed on .*photos/.* done in this process"):
        assert done(task(fails, "conv1")) == ["a"]


def test_warnings_arrive():
    def warns() -> str:
        warnings.warn("gap 3", NotConvergedWarning, stacklevel=1)
        return "a"

    with pytest.warns(NotConvergedWarning, match="gap 3"):
        assert done(task(warns)) == ["a"]


def test_what_does_not_pickle_is_named():
    lock = threading.Lock()
    with pytest.raises(InputError, match=r"^conv1 cannot be sent .*lock.* a number of workers"):
        done(task(lambda: str(lock), "conv1"))


def test_workers_of_another_version_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(on_ray, "versions", lambda: {"torch": "1.0"})
    with pytest.raises(InputError, match=r"has torch 2\..*, not 1\.0: install the same versions"):
        done(task(where))
    monkeypatch.setattr(on_ray, "versions", lambda: {"eckart-of-tomorrow": "9"})
    with pytest.raises(InputError, match=r"has no eckart-of-tomorrow, but 9 is needed: install"):
        done(task(where))


def test_a_folder_that_workers_do_not_see_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"does not see .*/away: put the workspace into a folder"):
        done(task(where, paths=(tmp_path / "away",)))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nowhere.invalid:6379"])
def test_a_cluster_that_is_not_there_is_known_at_once(
    address: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", address)
    began = time.monotonic()
    with pytest.raises(InputError, match=rf"no Ray cluster answers at {address} \(.*RAY_ADDRESS"):
        connected()
    assert time.monotonic() - began < 10


def test_without_ray_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"needs Ray: pip install 'eckart\[ray\]'"):
        connected()


class Unpicklable(nn.Sequential):
    """A network that holds a lock, which stays in this process."""

    def __init__(self) -> None:
        convolutions = nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.ReLU()
        super().__init__(*convolutions, nn.Flatten(), nn.Linear(16, 3))
        self.lock = threading.Lock()


def batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(8, 3, 6, 6, generator=generator) for _ in range(3)]


def predicted(model: nn.Module, moments: eckart.Moments, **how: Any) -> Curves:
    return eckart.curves(model, moments, progress=False, **how)


def check_same(one: Curves, other: Curves) -> None:
    assert [curve.options for curve in one.curves] == [curve.options for curve in other.curves]
    assert (one.groups, one.whole) == (other.groups, other.whole)


def test_curves_equal_the_serial_ones_to_the_bit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """With codes, channels, a method of the user, moments on disk and a network with a lock."""
    monkeypatch.setitem(METHODS, "rows", OutputRows())
    model = Unpicklable().eval()
    moments = eckart.calibrate(model, batches(), workspace=tmp_path, progress=False)
    how: dict[str, Any] = {"limits": "bytes", "bits": (4,)}
    how["methods"] = ["rows", "weighted_svd", "rounding", "backward_elimination"]
    sent = predicted(model, moments, workers="ray", **how)
    again = eckart.calibrate(model, batches(), progress=False)
    check_same(sent, predicted(model, again, **how))
    assert {"rows", "rounding"} <= {o.method for curve in sent.curves for o in curve.options}


def test_a_driver_that_stops_goes_on_and_the_frontier_is_the_serial_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = mlp(12, 16, 10, 4).eval()
    moments = eckart.calibrate(model, [torch.randn(8, 12) for _ in range(3)], progress=False)
    how: dict[str, Any] = {"methods": ["weighted_svd", "backward_elimination"]}
    keep, kept = Cache.keep, list[str]()

    def stopping(cache: Cache, title: str, value: Any) -> Any:
        if len(kept) == 4:
            raise KeyboardInterrupt
        kept.append(title)
        return keep(cache, title, value)

    monkeypatch.setattr(Cache, "keep", stopping)
    with pytest.raises(KeyboardInterrupt):
        predicted(model, moments, workers="ray", workspace=tmp_path, **how)
    first, kept[:] = set(kept), []
    monkeypatch.setattr(Cache, "keep", lambda *args: kept.append(args[1]) or keep(*args))
    found = predicted(model, moments, workers="ray", workspace=tmp_path, **how)
    assert kept
    assert not first & {*kept}
    check_same(found, predicted(model, moments, **how))

    def evaluate(smaller: nn.Module) -> float:
        with torch.no_grad():
            return float(smaller(torch.ones(2, 12)).sum())

    points: dict[str, Any] = {"options": found, "keeps": (0.8,), "progress": False}
    one, two = (
        eckart.frontier(model, moments, evaluate, workers=workers, **points)
        for workers in (1, "ray")
    )
    assert one.as_json() == two.as_json()


def lives(number: int) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def waited_for(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_no_worker_outlives_ctrl_c(tmp_path: Path):
    """The last test: those at work are killed."""

    def sleeps() -> str:
        (tmp_path / str(os.getpid())).touch()
        time.sleep(600)
        return ""

    tasks = [task(sleeps), task(sleeps), replace(task(lambda: "here"), sent=None)]
    numbers: list[int] = []

    def interrupted() -> None:
        with results_of(tasks, Cache(0), "ray", progress=False) as results:
            assert next(results)[1].text == "here"
            assert waited_for(lambda: any(tmp_path.iterdir()))
            numbers.extend(int(path.name) for path in tmp_path.iterdir())
            assert all(map(lives, numbers))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert waited_for(lambda: not any(map(lives, numbers)))
