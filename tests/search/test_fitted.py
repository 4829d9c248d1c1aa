"""A plan that was shown to be good enough is not chosen again from the same data."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import eckart
from eckart import Score, compress
from eckart.errors import LeftDenseWarning
from eckart.search import plan as plan_search
from eckart.search.sequence import Judge, smallest_shown
from stages.networks import Peeking

ERROR, TOLERANCE, N, BROKEN, RUNS = 0.1, 0.05, 200, 6, 60


class Options:
    """Options of which so many layers turn out not to run once a plan is applied."""

    def __init__(self, broken: int) -> None:
        self.broken = broken

    def without(self, reasons: dict[str, str]) -> "Options":
        return Options(self.broken - len(reasons))


def hits(lost: float, generator: torch.Generator) -> nn.Module:
    network = nn.Module()
    network.hits = (torch.rand(N, generator=generator) >= lost).float()
    return network


def loses_too_much(seed: int) -> bool:
    """Whether the search ends at a network that loses the tolerance.

    A large candidate loses nothing, but one of its layers has to be restored. The small one runs,
    and loses exactly the tolerance.
    """
    generator, dense = torch.Generator().manual_seed(seed), nn.Module()
    dense.hits = torch.ones(N)
    judge = Judge.of(lambda m: Score(1.0, samples=m.hits), dense, TOLERANCE, 1 - ERROR)

    def choose(options: Options) -> SimpleNamespace:
        losses = [TOLERANCE, 0.0]
        index, _ = smallest_shown(
            [100, 200], lambda i: hits(losses[i], generator), judge, dense_params=300
        )
        layer = {f"layer{options.broken}": None} if index == 1 and options.broken else {}
        return SimpleNamespace(choices=layer, dense=layer, bad=index == 0)

    found, _ = plan_search.fitted(nn.Module(), None, Options(BROKEN), choose, None, shown=True)
    return found.plan.bad


def test_restored_layers_do_not_spend_the_error_again(monkeypatch: pytest.MonkeyPatch):
    done = lambda model, plan, moments, cache: SimpleNamespace(model=model, plan=plan)  # noqa: E731
    monkeypatch.setattr(plan_search, "applied", done)
    whole = SimpleNamespace(choices={}, dense={})
    monkeypatch.setattr(plan_search, "hull", lambda options: [whole])
    wrong = sum(loses_too_much(seed) for seed in range(RUNS))
    assert wrong <= ERROR * RUNS, "six searches of the same data are wrong in about a third"


def test_layers_that_do_not_run_are_found_before_the_data_are_read():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 16), Peeking(), nn.Linear(16, 12)).eval()
    read = []

    def evaluate(network: nn.Module) -> Score:
        read.append(sum(p.numel() for p in network.parameters()))
        return Score(1.0, samples=torch.ones(200))

    with pytest.warns(LeftDenseWarning):
        found = compress(
            model,
            eckart.calibrate(model, [torch.randn(4, 5, 12)]),
            tolerance=0.1,
            confidence=0.9,
            evaluate=evaluate,
            report=lambda network: 1.0,
            methods=["weighted_svd"],
            latency=False,
        )
    assert found.evaluations == found.search.evaluations == len(read) - 1
    assert found.plan.costs["params"] == found.search.found.params == read[-1]
    assert {"1.linear1", "1.linear2"} <= found.plan.dense.keys()
    assert sorted(set(read), reverse=True) == read, "no network is tried twice"
