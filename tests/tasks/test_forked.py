"""Tasks in copies of the process: killed, failing, interrupted."""

import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from eckart.errors import EckartError, NotConvergedWarning
from eckart.methods import Cache
from eckart.tasks import Task, results_of
from eckart.tasks.task import Text

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def task(work: Callable[[], str], title: str = "", size: float = 0.0) -> Task:
    return Task(title, Text, lambda: Text(work()), size=size)


def done(*tasks: Task, workers: int = 2, cache: Cache | None = None) -> list[str]:
    found = {}
    with results_of(tasks, cache or Cache(2**20), workers, progress=False) as results:
        for each, result in results:
            found[id(each)] = result.text
    return [found[id(each)] for each in tasks]


def test_each_task_has_its_own_process_with_one_thread():
    def told() -> str:
        return f"{os.getpid()} {torch.get_num_threads()}"

    first, second, third = done(task(told), task(told), task(told))
    assert len({first, second, third, str(os.getpid())}) == 4
    assert {text.split()[1] for text in (first, second, third)} == {"1"}
    assert done(task(told))[0].split()[0] != str(os.getpid()), "a single one too"


def test_the_largest_begin_first(tmp_path: Path):
    log = tmp_path / "log"

    def work(name: str) -> Callable[[], str]:
        def write() -> str:
            with log.open("a") as file:
                file.write(name)
            time.sleep(0.1)
            return name

        return write

    assert done(*(task(work(n), size=s) for n, s in zip("abc", (1, 9, 5), strict=True))) == [*"abc"]
    assert set(log.read_text()[:2]) == {"b", "c"}


def test_large_results_arrive_whole():
    text = "x" * 3_000_000
    assert done(task(lambda: text), task(lambda: text + "y")) == [text, text + "y"]


def test_a_killed_worker_is_tried_again(tmp_path: Path):
    def once(name: str) -> Callable[[], str]:
        def work() -> str:
            if not (tmp_path / name).exists():
                (tmp_path / name).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return name

        return work

    assert done(task(once("a")), task(once("b")), task(lambda: "c")) == ["a", "b", "c"]


def test_what_is_always_killed_ends_with_an_error_that_says_what_to_do():
    def killed() -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        return ""

    with pytest.raises(
        EckartError, match=r"conv1: its process was killed 3 times, by SIGKILL; .*fewer"
    ):
        done(task(killed, "conv1"), task(lambda: "b"))


def test_an_error_is_that_of_the_task_itself():
    def fails() -> str:
        raise KeyError("this one")

    with pytest.raises(KeyError, match="this one"):
        done(task(fails), task(lambda: "b"))


def test_warnings_arrive():
    def warns() -> str:
        warnings.warn("gap 3", NotConvergedWarning, stacklevel=1)
        return "a"

    with pytest.warns(NotConvergedWarning, match="gap 3"):
        assert done(task(warns), task(lambda: "b")) == ["a", "b"]


def test_tasks_of_one_title_are_done_once(tmp_path: Path):
    def work() -> str:
        with (tmp_path / "log").open("a") as file:
            file.write("x")
        return "a"

    cache = Cache(2**20)
    assert done(task(work, "same"), task(work, "same"), task(lambda: "b"), cache=cache) == [*"aab"]
    assert done(task(work, "same"), cache=cache) == ["a"]
    assert (tmp_path / "log").read_text() == "x"


def test_what_may_not_last_is_not_kept():
    cache = Cache(2**20)
    passing = Task("p", Text, lambda: Text("now"), lasting=lambda result: result.text != "now")
    assert done(passing, cache=cache, workers=1) == ["now"]
    assert not cache.states


def sleeping(folder: Path) -> list[Task]:
    """Tasks that say who they are and never end."""

    def work() -> str:
        (folder / str(os.getpid())).touch()
        time.sleep(600)
        return ""

    return [task(work) for _ in range(2)]


def pids_in(folder: Path) -> list[int]:
    """The processes of both tasks, once they have begun."""
    end = time.monotonic() + 30
    while len(found := [int(path.name) for path in folder.iterdir()]) < 2:
        assert time.monotonic() < end, "the tasks did not begin"
        time.sleep(0.01)
    return found


def lives(number: int) -> bool:
    """Whether a process is there, and no zombie that nobody has asked about."""
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def all_end(numbers: list[int]) -> bool:
    end = time.monotonic() + 10
    while any(map(lives, numbers)):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_leaving_early_ends_the_workers(tmp_path: Path):
    numbers: list[int] = []

    def first() -> str:
        pids_in(tmp_path)
        return "first"

    tasks = [task(first, size=1), *sleeping(tmp_path)]
    with results_of(tasks, Cache(0), 3, progress=False) as results:
        assert next(results)[1].text == "first"
        numbers = pids_in(tmp_path)
        assert all(map(lives, numbers))
    assert all_end(numbers)


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[int]:
    """A process whose two workers never end."""
    number = os.fork()
    if number == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = 1
        try:
            done(*sleeping(tmp_path))
        except KeyboardInterrupt:
            code = 130
        finally:
            os._exit(code)
    yield number
    if lives(number):
        os.kill(number, signal.SIGKILL)


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_no_worker_outlives_an_interrupted_or_killed_driver(
    driver: int, tmp_path: Path, how: signal.Signals, code: int
):
    numbers = pids_in(tmp_path)
    os.kill(driver, how)
    _, status = os.waitpid(driver, 0)
    assert os.waitstatus_to_exitcode(status) == code
    assert all_end(numbers)


def test_ctrl_c_to_all_does_not_end_in_another_try(driver: int, tmp_path: Path):
    """A terminal sends it to the workers as well, who leave it to the first process."""
    numbers = pids_in(tmp_path)
    for number in numbers:
        os.kill(number, signal.SIGINT)
    time.sleep(0.05)
    assert all(map(lives, numbers))
    os.kill(driver, signal.SIGINT)
    os.waitpid(driver, 0)
    assert all_end(numbers)
