"""What the zoo writes down about a network, whatever becomes of it."""

import os
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from benchmarks.zoo.checks import check_runs, outputs
from benchmarks.zoo.network import LIBRARIES, Network, drawn, images
from benchmarks.zoo.networks import NETWORKS
from benchmarks.zoo.notes import FAILED, NAMED, PASSED, SLOW, Wrong
from benchmarks.zoo.process import Process
from benchmarks.zoo.shares import shares
from benchmarks.zoo.thin import thin
from eckart import calibrate

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="forks, and limits resources")


def made(make: Callable[[], nn.Module], *shape: int) -> Network:
    return Network("mine", "own", "kind", make, drawn(*shape))


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 4))


def endless() -> nn.Module:
    while True:
        torch.ones(9).sum()


def broken() -> nn.Module:
    raise RuntimeError("this class cannot be made")


@on_linux
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("make", "outcome", "said"),
    [
        (small, PASSED, None),
        (nn.ReLU, NAMED, "InputError: no layer of this network can be compressed"),
        (broken, FAILED, "RuntimeError: this class cannot be made"),
        (endless, FAILED, SLOW),
    ],
    ids=["passes", "is refused", "fails", "takes too long"],
)
def test_the_row_says_what_became_of_it(
    make: Callable[[], nn.Module], outcome: str, said: str | None
):
    seconds = 2 if said == SLOW else 20  # the first to calibrate imports a lot
    process = Process(made(make, 24), seconds=seconds, export=False, seed=0)
    row = process.row(os.waitpid(process.pid, 0)[1])
    assert (row["name"], row["outcome"]) == ("mine", outcome)
    assert said is None or row["error"].startswith(said)


def test_widths_are_divided_and_classes_stay():
    with thin(8):
        layers = nn.Conv2d(3, 64, 3), nn.Conv2d(64, 64, 3, groups=64), nn.Linear(64, 10)
    assert [layer.weight.shape for layer in layers] == [(8, 3, 3, 3), (8, 1, 3, 3), (10, 8)]
    assert nn.Linear(64, 10).weight.shape == (10, 64)


class Nested(nn.Module):
    def forward(self, x: Tensor) -> dict[str, object]:
        return {"one": x, "more": [(x + 1,)], "count": 3}


def test_every_tensor_of_the_outputs_is_compared():
    found = outputs(Nested(), torch.zeros(2))
    assert [t.tolist() for t in found] == [[0, 0], [1, 1]]


class Twice(nn.Module):
    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        return x.repeat(1, self.times) if self.training else x


def test_a_changed_shape_in_train_mode_is_found():
    network = made(lambda: Twice(1), 3)
    with pytest.raises(Wrong, match=r"batch 0 in train mode: shapes \[\(4, 6\)\]"):
        check_runs(network, Twice(1), Twice(2), network.data())


def test_shares_leave_tables_and_heads_aside():
    class Tabled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.body, self.head = nn.Embedding(9, 8), nn.Linear(8, 8), nn.Linear(8, 2)
            self.never = nn.Linear(8, 4)

        def forward(self, words: Tensor) -> Tensor:
            return self.head(self.body(self.table(words)).relu())

    model = Tabled()
    found = shares(model, calibrate(model, [torch.zeros(4, dtype=torch.long)], layers=["body"]))
    weights = 72 + 64 + 16 + 32
    assert found["share of weights"] == pytest.approx(64 / weights, abs=1e-4)
    assert found["share of the rest"] == pytest.approx(64 / 96, abs=1e-4)
    assert found["share of the reached"] == 1


def test_two_networks_of_a_seed_are_equal_and_data_are_the_same():
    network = Network("mine", "own", "kind", small, images(4))
    one, other = network.made(), network.made()
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(network.data(), network.data(), strict=True))


def test_all_libraries_are_there():
    counts = {name: sum(n.library == name for n in NETWORKS.values()) for name in LIBRARIES}
    assert counts["torchvision"] >= 38
    assert counts["timm"] >= 30
    assert counts["transformers"] >= 50
    assert counts["own"] >= 40
