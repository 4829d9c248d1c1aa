"""Two processes that calibrate a share each, against one that has it all."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from eckart import EckartError, Logits, Moments, calibrate, curves
from eckart.errors import CalibrationInterrupted
from stages.networks import Attention

RANKS = 2
COUNTS = {"even": 4, "one rank has fewer": 5, "one rank has none": 1}


class Diverging(Attention):
    """The key reads a tensor of its own in one batch, which only one rank sees."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.apart = len(x) == 5
        return super().forward(x)


class Joint(Logits):
    """The positions of an example act on its logits together."""

    joint = True


class Several(torch.nn.Module):
    """Two outputs, of which one is there in some batches only, as is the layer that makes it."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.first = torch.nn.Linear(6, 8), torch.nn.Linear(8, 3)
        self.second, self.never = torch.nn.Linear(8, 5), torch.nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.body(x).relu()
        found = {"first": self.first(x)}
        return found if len(x) == 2 else {**found, "second": 50 * self.second(x)}


def several() -> Several:
    torch.manual_seed(0)
    return Several()


def network() -> Attention:
    torch.manual_seed(0)
    return Diverging()


def shards() -> Attention:
    """The same network by FSDP2: each rank has a part of every weight."""
    whole = network()
    fully_shard(whole, mesh=init_device_mesh("cpu", (RANKS,)))
    return whole


def batches(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(n, 4, 6, generator=generator) for n in (3, 2, 4, 5, 6)[:count]]


def differing(rank: int) -> dict[str, dict[str, Any]]:
    """What one rank is given, and the other is not."""
    other = network()
    with torch.no_grad():
        next(other.parameters())[0, 0] += rank
    return {
        "network": {"model": other},
        "metric": {"metric": Logits(class_dim=1 if rank else None)},
        "layers": {"layers": ["k" if rank else "*"]},
        "seed": {"seed": rank},
        "refused": {"layers": ["nowhere" if rank else "*"]},
    }


def run_rank(rank: int, folder: Path) -> None:
    """What each process does: deal out the batches in turn, calibrate, write the sum."""
    store = dist.FileStore(str(folder / "store"), RANKS)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=RANKS)
    for count in COUNTS.values():
        moments = calibrate(network(), batches(count)[rank::RANKS], seed=5)
        moments.save(folder / f"{count}-{rank}")
    outputs = calibrate(several(), batches(3)[rank::RANKS])  # the second rank sees one output only
    outputs.save(folder / f"several-{rank}")
    joint = calibrate(network(), batches(4)[rank::RANKS], metric=Joint())
    joint.save(folder / f"joint-{rank}")
    sharded = calibrate(shards(), batches(4)[rank::RANKS], seed=5)
    sharded.save(folder / f"sharded-{rank}")
    try:
        curves(shards(), sharded, progress=False)
    except EckartError as error:
        (folder / f"curves-{rank}").write_text(f"{type(error).__name__}: {error}")
    try:
        calibrate(network(), [torch.full((2, 4, 6), float("nan") if rank else 1.0)])
    except EckartError as error:
        (folder / f"error-{rank}").write_text(f"{type(error).__name__}: {error}")
    for what, given in differing(rank).items():
        try:
            calibrate(**{"model": network(), "batches": batches(2), **given})
        except EckartError as error:
            (folder / f"{what}-{rank}").write_text(f"{type(error).__name__}: {error}")
    dist.barrier()
    try:
        calibrate(network(), dying() if rank else batches(2))
    except CalibrationInterrupted as error:
        error.moments.save(folder / "left alone")
        (folder / "said alone").write_text(str(error))
    os._exit(0)  # gloo's threads abort some processes that end a group


def dying() -> Iterator[torch.Tensor]:
    """One batch, and then this process leaves without a word."""
    yield batches(1)[0]
    os._exit(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where both processes have written their moments."""
    folder = tmp_path_factory.mktemp("ranks")
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    command = [sys.executable, "-m", "stages.test_calibrate_distributed"]
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen([*command, str(rank), str(folder)], env=environment)
        for rank in range(RANKS)
    ]
    try:
        assert [rank.wait(timeout=120) for rank in ranks] == [0] * RANKS
    finally:
        for rank in ranks:
            rank.kill()
    return folder


def test_an_error_on_one_rank_stops_all(folder: Path):
    found = [(folder / f"error-{rank}").read_text() for rank in range(RANKS)]
    first, second = (text.partition(": ") for text in found)
    assert (first[0], second[0]) == ("CalibrationInterrupted", "NonFiniteError")
    assert "rank 1 stopped (NonFiniteError: " in first[2]


@pytest.mark.parametrize("what", ["network", "metric", "layers", "seed", "refused"])
def test_ranks_that_differ_are_told_before_the_first_batch(what: str, folder: Path):
    said = [(folder / f"{what}-{rank}").read_text() for rank in range(RANKS)]
    expected = ["MismatchError", "InputError" if what == "refused" else "MismatchError"]
    assert [each.partition(":")[0] for each in said] == expected
    assert f"{what}: " in said[0]
    assert "on rank 1" in said[0]


def test_a_rank_that_is_left_alone_keeps_what_it_has(folder: Path):
    assert Moments.load(folder / "left alone").batches == 2
    said = (folder / "said alone").read_text()
    assert re.search(r"stopped after 2 batches .*rank 1 \(process \d+ on .+\) is gone: ", said)


@pytest.mark.parametrize("count", COUNTS.values(), ids=COUNTS)
def test_two_ranks_equal_one(count: int, folder: Path):
    expected = calibrate(network(), batches(count), seed=5)
    for rank in range(RANKS):
        found = Moments.load(folder / f"{count}-{rank}")
        for count_of in ("examples", "outputs", "batches", "metric"):
            assert getattr(found, count_of) == getattr(expected, count_of)
        assert found.fingerprint == expected.fingerprint
        assert found.model_costs == expected.model_costs
        assert torch.equal(found.example, expected.example)
        assert found.skipped == expected.skipped
        assert found.specs.keys() == expected.specs.keys()
        for name in expected.specs:
            key, known = found.specs[name].input, expected.specs[name].input
            assert found.rows[key] == expected.rows[known]
            for left, right in ((f"gram/{key}", f"gram/{known}"), (f"output/{name}",) * 2):
                assert found.scatters[left].batches == expected.scatters[right].batches == count
                squares = expected.scatters[right].squares
                assert found.scatters[left].squares == pytest.approx(squares, rel=1e-6)
            for part in ("a", "mean", "g"):
                left, right = getattr(found, part)(name), getattr(expected, part)(name)
                torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)


def test_a_network_sharded_by_fsdp2_has_the_moments_of_the_whole_one(folder: Path):
    expected = calibrate(network(), batches(4), seed=5)
    for rank in range(RANKS):
        found = Moments.load(folder / f"sharded-{rank}")
        assert found.fingerprint == expected.fingerprint
        assert found.specs.keys() == expected.specs.keys()
        for name in expected.specs:
            for part in ("a", "g"):
                left, right = getattr(found, part)(name), getattr(expected, part)(name)
                torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-6)
        said = (folder / f"curves-{rank}").read_text()
        assert "InputError: the network is sharded over ranks" in said
    sites = curves(network(), found, progress=False).curves
    assert len(sites) == len(expected.specs)


def test_several_outputs_of_which_a_rank_sees_one(folder: Path):
    expected = calibrate(several(), batches(3))
    assert set(expected.scales) == {"first", "second"}
    assert set(expected.unreached) == {"never.weight", "never.bias"}
    for rank in range(RANKS):
        found = Moments.load(folder / f"several-{rank}")
        assert found.unreached == expected.unreached
        assert found.skipped == expected.skipped
        assert found.scales == pytest.approx(expected.scales)
        assert found.specs.keys() == expected.specs.keys() == {"body", "first", "second"}
        for name in expected.specs:
            for part in ("a", "g"):
                left, right = getattr(found, part)(name), getattr(expected, part)(name)
                torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-10)


def test_sums_of_rows_taken_jointly_add_up_too(folder: Path):
    expected = calibrate(network(), batches(4), metric=Joint())
    for rank in range(RANKS):
        found = Moments.load(folder / f"joint-{rank}")
        assert found.joint_grams.keys() == expected.specs.keys()
        for name in expected.specs:
            torch.testing.assert_close(found.loss_a(name), expected.loss_a(name))


if __name__ == "__main__":
    run_rank(int(sys.argv[1]), Path(sys.argv[2]))
