"""One command on several ranks: shares, and the same result as by one process."""

import json
import os
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from eckart import Moments
from eckart.cli.options.ranks import Ranks
from eckart.cli.sources.text_data import Windows
from eckart.errors import InputError

TIMEOUT_S = 500  # on a busy machine


@pytest.mark.parametrize(("batches", "ranks"), [(5, 2), (1, 3), (4, 4)])
def test_batches_are_dealt_out_in_turn(batches: int, ranks: int):
    windows = Windows([{"input_ids": torch.full((2, 3), n)} for n in range(batches)], 2)
    shares = [Ranks(rank, ranks).share(windows) for rank in range(ranks)]
    numbers = [[int(batch["input_ids"][0, 0]) for batch in share] for share in shares]
    assert numbers == [list(range(batches))[rank::ranks] for rank in range(ranks)]


@pytest.mark.parametrize(("rank", "size"), [("2", "2"), ("-1", "2"), ("one", "2"), ("0", "many")])
def test_ranks_that_make_no_sense(rank: str, size: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(InputError, match="start with torchrun, or unset both"):
        Ranks.here()


def test_without_torchrun_there_is_one_rank(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    alone = Ranks.here()
    assert alone.leads
    assert alone.beside(tmp_path) == tmp_path


@pytest.mark.parametrize("foreground", [True, False])
def test_a_rank_that_torchrun_ends_stops_as_after_ctrl_c(
    foreground: bool, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
):
    """It asks all others to end when one has died; what they have is written then."""
    usual = signal.default_int_handler if foreground else signal.SIG_IGN
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, usual)))
    for name in ("init_process_group", "destroy_process_group"):
        monkeypatch.setattr(f"torch.distributed.{name}", lambda *args, **how: None)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), Ranks(0, 2).joined():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def words(factory: str, weights: Path, folder: Path, command: str, *more: object) -> list[str]:
    given = [command, factory, "--weights", weights, "--data", folder, "--split", "train"]
    size = ["--image-size", 8, "--examples", 5, "--batch-size", 2, "--threads", 1]
    return [str(word) for word in (*given, *size, *more)]


def environment(**more: str) -> dict[str, str]:
    paths = os.pathsep.join(sys.path)
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **more}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def check_equal(found: Moments, expected: Moments) -> None:
    assert (found.examples, found.batches) == (expected.examples, expected.batches)
    assert found.specs.keys() == expected.specs.keys()
    for name in expected.specs:
        for part in ("a", "g"):
            ours, theirs = getattr(found, part)(name), getattr(expected, part)(name)
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_torchrun_shares_uneven_batches(
    factory: str, weights: Path, folder: Path, run: Any, tmp_path: Path
):
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    assert run(*words(factory, weights, folder, "calibrate", "--out", one)).exit_code == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    torchrun += ["--master-port", str(free_port()), "-m", "eckart"]
    command = [*torchrun, *words(factory, weights, folder, "calibrate", "--out", two, "--json")]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["batches"] == 3, "one document, by the first rank"
    check_equal(Moments.load(two), Moments.load(one))


def test_two_nodes_make_the_plan_of_one(factory: str, weights: Path, folder: Path, run: Any):
    """Each rank is started as torchrun on its own machine would start it."""
    given = words(factory, weights, folder, "compress", "--keep", 0.6, "--no-latency", "--json")
    given += ["--methods", "weighted_svd"]
    expected = json.loads(run(*given).stdout)
    at = {"MASTER_ADDR": "127.0.0.2", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "eckart", *given],
            env=environment(**at, RANK=str(rank)),
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        first, second = (rank.communicate(timeout=TIMEOUT_S)[0] for rank in ranks)
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0]
    assert second == ""
    found = json.loads(first)
    ours, theirs = found["plan"]["choices"], expected["plan"]["choices"]
    assert {name: c["form"] for name, c in ours.items()} == {
        name: c["form"] for name, c in theirs.items()
    }
    assert found["plan"]["loss"] == pytest.approx(expected["plan"]["loss"], rel=1e-6)
