"""Candidates from the largest down, until one is not shown to be good enough."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from eckart import Score, accuracy, perplexity, torch_metric
from eckart.errors import InputError
from eckart.scores.by_example import ByExample
from eckart.search.sequence import Judge, smallest_shown, spread_out

N, BATCH = 1000, 250
GAPS = (0.3, 0.12, 0.05, 0.02, 0.005, 0.0)  # of candidates of 100, 200 … 600 parameters


class Fixed(nn.Module):
    """A network whose hits are known."""

    def __init__(self, hits: Tensor) -> None:
        super().__init__()
        self.hits = hits


class Reader:
    """Hits in batches, and how many were read."""

    def __init__(self) -> None:
        self.read = 0

    def samples(self, model: nn.Module):
        for batch in model.hits.split(BATCH):
            self.read += len(batch)
            yield batch

    def evaluate(self) -> ByExample:
        def whole(model: nn.Module) -> Score:
            return Score(float(model.hits.mean()), N, samples=model.hits)

        return ByExample(whole, self.samples, bounds=(0.0, 1.0))


def searched(seed: int, tolerance: float, gaps: tuple[float, ...] = GAPS):
    """A search among networks that lose so much on average, with some noise either way."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(3, N, generator=generator)
    right = draws[0] < 0.9

    def hits(gap: float) -> Tensor:
        lost = draws[1] < (gap + 0.009) / 0.9
        return (right & ~lost | ~right & (draws[2] < 0.09)).float()

    reader = Reader()
    judge = Judge.of(reader.evaluate(), Fixed(right.float()), tolerance, 0.95)
    reader.read = 0
    params = [100 * (i + 1) for i in range(len(gaps))]
    index, search = smallest_shown(params, lambda i: Fixed(hits(gaps[i])), judge, 700)
    return index, search, reader


def test_what_is_found_loses_more_in_at_most_one_of_twenty_searches():
    runs = 100
    found = [searched(seed, 0.05)[0] for seed in range(runs)]
    wrong = sum(index is not None and GAPS[index] >= 0.05 for index in found)
    assert wrong <= 0.05 * runs
    assert sum(index == 3 for index in found) > 0.3 * runs, "it does find what loses 0.02"


def test_clear_differences_take_a_fraction_of_the_examples():
    index, search, reader = searched(0, 0.08)
    assert index == 3
    assert [trial.params for trial in search.trials] == [600, 500, 400, 300]
    assert reader.read == search.examples == sum(t.score.n for t in search.trials)
    assert search.trials[0].score.n == BATCH
    assert search.examples <= 0.6 * N * search.evaluations
    assert search.found.bound < 0.08
    assert search.bound == search.found.bound > search.gap
    assert "with confidence 0.95, within 0.08" in str(search)
    assert search.as_json()["bound"] == search.bound


def test_what_is_much_worse_is_refused_early():
    index, search, reader = searched(0, 0.01, (0.5,))
    assert index is None
    assert reader.read == BATCH
    assert search.bound is None
    assert "nothing smaller is shown, with confidence 0.95, to be within 0.01" in str(search)


def test_a_candidate_after_a_failure_is_not_tried():
    index, search, _ = searched(0, 0.08, (0.0, 0.3, 0.0))
    assert index == 2
    assert [trial.params for trial in search.trials] == [300, 200]


def test_too_few_examples_are_said_to_be_too_few():
    reader = Reader()
    judge = Judge.of(reader.evaluate(), Fixed(torch.ones(N)), 0.001, 0.95)
    assert judge.needed > N
    assert not judge.passes(Fixed(torch.ones(N)), 1)[0]


def test_candidates_are_spread_over_sizes():
    chosen = spread_out(list(range(100, 1000)), 1000)
    assert chosen[0] == 899
    assert len(chosen) == 24
    assert spread_out([], 1000) == []
    assert spread_out([10, 990], 1000) == [1, 0]


def test_a_score_of_ones_and_zeros_counts_as_bounded():
    right = torch.ones(200)
    judge = Judge.of(lambda m: Score(1.0, samples=m.hits), Fixed(right), 0.1, 0.9)
    assert judge.most == 1.0
    good, trial = judge.passes(Fixed(right), 5)
    assert good
    assert (trial.score.n, trial.gap) == (200, 0.0)
    assert Judge.of(lambda m: Score(1.0, samples=m.hits), Fixed(right / 3), 0.1, 0.9).most is None


def test_losses_are_better_when_they_are_lower():
    losses = torch.rand(400, generator=torch.Generator().manual_seed(0)).double()

    def evaluate(model: nn.Module) -> Score:
        return Score(float(model.hits.mean()), samples=model.hits, higher_is_better=False)

    judge = Judge.of(evaluate, Fixed(losses), 0.1, 0.95)
    assert judge.passes(Fixed(losses + 0.02), 1)[0]
    good, trial = judge.passes(Fixed(losses + 0.2), 1)
    assert not good
    assert trial.gap == pytest.approx(0.2)
    assert trial.bound > 0.2


class Logits(nn.Module):
    """The same logits for every token: word 0 is as likely as this says."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([logit, 0.0, 0.0, 0.0]))

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.logits.expand(*input_ids.shape, 4)


def test_a_tolerance_of_perplexity_is_one_of_perplexity():
    ids = torch.randint(4, (300, 33), generator=torch.Generator().manual_seed(0))
    batches = [{"input_ids": part} for part in ids.split(20)]
    evaluate = perplexity(batches)
    dense, worse = Logits(0.0), Logits(1.0)
    gap = evaluate(worse).value - evaluate(dense).value
    judge = Judge.of(evaluate, dense, 2 * gap, 0.95)
    assert judge.score.value == pytest.approx(evaluate(dense).value, rel=1e-6)
    good, trial = judge.passes(worse, 1)
    assert good
    assert gap / 2 < trial.gap < trial.bound < 2 * gap
    assert trial.score.n < 300
    assert not Judge.of(evaluate, dense, 0.9 * gap, 0.95).passes(worse, 1)[0]


def test_rows_of_different_lengths_count_by_their_tokens():
    rows = [[0, 1, 2, 3, 0, 0], [1, 0, 0, -100, -100, -100]]
    labels = torch.tensor(rows)
    batch = {"input_ids": labels.clamp_min(0), "labels": labels}
    evaluate = perplexity([batch])

    class Reads(Logits):
        def forward(self, input_ids: Tensor, labels: Tensor) -> Tensor:
            return super().forward(input_ids)

    (samples,) = evaluate.samples(Reads(1.0))
    assert evaluate.score(samples).value == pytest.approx(evaluate(Reads(1.0)).value)


def test_a_metric_of_torchmetrics_is_compared_by_batch():
    torchmetrics = pytest.importorskip("torchmetrics")
    x = torch.randn(800, 3, generator=torch.Generator().manual_seed(0))
    network, other = nn.Linear(3, 1), nn.Linear(3, 1)
    y = network(x).detach() + 1
    metric = torchmetrics.MeanSquaredError()
    evaluate = torch_metric(metric, list(zip(x.split(10), y.split(10), strict=True)))
    samples = torch.cat([*evaluate.samples(other)])
    assert evaluate.unit == "batch"
    assert len(samples) == 80
    assert evaluate.score(samples).value == pytest.approx(evaluate(other).value)
    assert not evaluate.score(samples).higher_is_better


def test_what_cannot_be_compared_is_refused():
    model, pairs = nn.Linear(3, 2), [(torch.randn(4, 3), torch.zeros(4, dtype=torch.long))]
    with pytest.raises(InputError, match="number per example"):
        Judge.of(lambda m: 1.0, model, 0.1, 0.95)
    shuffled = DataLoader(TensorDataset(*pairs[0]), shuffle=True)
    with pytest.raises(InputError, match="shuffles"):
        Judge.of(accuracy(shuffled), model, 0.1, 0.95)
    for wrong in (0.0, 1.0, float("nan")):
        with pytest.raises(InputError, match="confidence"):
            Judge.of(accuracy(pairs), model, 0.1, wrong)
