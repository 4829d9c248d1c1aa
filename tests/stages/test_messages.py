"""What is wrong is said as it is, and what to do is what helps."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from eckart import Budget, Score, calibrate, compress
from eckart.cli.shown.tables import before_after_table
from eckart.errors import BudgetError, InputError, NoGainWarning
from eckart.records import Measurement
from eckart.records.results import no_gain


class Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(5, 3)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self.first(a) + self.second(b)


class Special(nn.Module):
    """A layer of a class of its own, whose weight has three axes."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, inputs, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight.mean(0)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        (
            torch.zeros(6, 4, dtype=torch.float64),
            r"on the inputs \(6, 4\) of torch.float64",
        ),
        (torch.zeros(6, 5), r"does not run on the inputs \(6, 5\)"),
    ],
)
def test_a_batch_that_does_not_run_is_called_that(batch, says):
    with pytest.raises(InputError, match=says) as caught:
        calibrate(mlp(), [batch])
    assert "single example" not in str(caught.value)
    assert "two inputs" not in str(caught.value)


def test_a_pair_that_was_meant_as_two_inputs_is_explained():
    a, b = torch.randn(32, 4), torch.randn(32, 5)
    with pytest.raises(InputError, match="for a network of two inputs, give"):
        calibrate(Sum(), [(a, b)])
    for two in ({"a": a, "b": b}, ((a, b), torch.zeros(32))):
        assert set(calibrate(Sum(), [two]).specs) == {"first", "second"}


def test_classes_are_named_with_their_modules():
    network = nn.Sequential(nn.Linear(4, 4), Special(4, 4), nn.Bilinear(4, 4, 2))
    found = calibrate(network[:2], [torch.randn(32, 4)]).skipped
    assert f"registered for {Special.__module__}.Special" in found["1"]


def test_only_a_layer_that_is_the_whole_network_is_to_be_wrapped():
    for model, says, other in (
        (nn.Linear(4, 3), "wrap it in nn.Sequential", "no layer type"),
        (Special(4, 3), "no layer type is registered", "wrap it"),
    ):
        with pytest.raises(InputError, match=says) as caught:
            calibrate(model, [torch.randn(32, 4)])
        assert other not in str(caught.value)


def test_adapters_that_are_not_merged_are_refused_at_once():
    peft = pytest.importorskip("peft")
    model = peft.inject_adapter_in_model(peft.LoraConfig(target_modules=["0"]), mlp())

    def batches():
        raise AssertionError("the data are not read")
        yield

    for refused in (
        lambda: calibrate(model, batches()),
        lambda: compress(model, batches(), keep=0.5),
    ):
        with pytest.raises(InputError, match="merge_and_unload"):
            refused()


def test_a_budget_out_of_reach_names_what_cannot_shrink_and_why():
    model = nn.Sequential(nn.Linear(4, 40), nn.ReLU(), nn.Linear(40, 40), nn.Linear(40, 3))
    x = torch.randn(64, 4)
    with pytest.raises(BudgetError) as caught:
        compress(model, [x], keep=0.1, methods=["weighted_svd"], dense=["2"])
    said = str(caught.value)
    assert "'2' keeps 1640 (84%): asked to stay dense" in said
    assert "fewer layers left dense" in said
    with pytest.raises(BudgetError) as caught:
        compress(model, [x], keep=0.01, methods=["weighted_svd"])
    assert "'0' keeps 84 (4%)" in str(caught.value)
    assert "fewer layers left dense" not in str(caught.value)


@pytest.mark.parametrize(("better", "word"), [(True, "drop"), (False, "rise")])
def test_a_score_says_which_way_it_went(better, word):
    dense = Score(20.0, higher_is_better=better)
    worse = Score(15.0 if better else 25.0, higher_is_better=better)
    assert (worse.change_from(dense), worse.is_much_worse_than(dense)) == (word, True)
    assert not dense.is_much_worse_than(worse)
    measured = [
        Measurement(params=1, macs=1, bytes=4, score=s, latency_ms=s.value) for s in (dense, worse)
    ]
    table = before_after_table(*measured)
    assert f"{word} 5" in "".join(str(cell) for cell in table.columns[-1].cells)
    slower = "" if better else "takes 1.25 times as long as the dense one, on this machine, and "
    to = "15" if better else "25"
    much = f"has a score that is worse by more than a tenth: a {word} from 20 to {to}"
    assert no_gain(*measured) == slower + much
    assert no_gain(measured[0], measured[0]) == ""


def test_a_difference_within_the_spread_of_the_times_says_nothing():
    dense, smaller = (
        Measurement(params=1, macs=1, bytes=4, latency_ms=ms, latency_spread_ms=0.5)
        for ms in (4.0, 4.9)
    )
    assert no_gain(dense, smaller) == ""
    assert no_gain(dense, replace(smaller, latency_ms=5.1)).startswith("takes 1.27 times")


def test_a_result_that_is_no_gain_says_so():
    model, x = nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 4)), torch.randn(64, 6)
    scores = iter([Score(0.9), Score(0.7)])
    with pytest.warns(NoGainWarning, match="the smaller network .*a drop from 0.9 to 0.7"):
        found = compress(model, [x], keep=0.5, evaluate=lambda _: next(scores))
    assert "a drop from 0.9 to 0.7" in str(found).splitlines()[-1]
    assert len(str(found).splitlines()) == 2
    same = compress(model, [x], keep=0.5, evaluate=lambda _: 0.9, latency=False)
    assert (same.no_gain, len(str(same).splitlines())) == ("", 1)


@pytest.mark.parametrize("cost", ["params", "bytes", "macs"])
def test_a_budget_out_of_reach_names_parts_that_are_no_sites(cost: str):
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(13, 15))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.weight.sum()

    class Worded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.norm = nn.Embedding(100, 8, max_norm=100.0), nn.LayerNorm(8)
            self.fc, self.head = nn.Linear(8, 8), Odd()

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            x = self.fc(self.norm(self.words(ids)))
            x = x + 0 * x @ (x.mT @ x)
            return self.head(x)

    with pytest.raises(BudgetError) as caught:
        compress(Worded(), [torch.randint(100, (32,))], budget=Budget(costs={cost: 0.01}))
    said = str(caught.value)
    if cost == "macs":
        assert "'what runs outside of layers' keeps 128 (" in said
        return
    size = 4 if cost == "bytes" else 1
    assert f"'words' keeps {800 * size} (" in said
    assert "max_norm rescales its rows" in said
    assert "no layer type is registered for" in said
    assert f"'head' keeps {195 * size} (" in said
    assert f"'every LayerNorm' keeps {16 * size} (" in said
    assert "it has no matrix" in said
