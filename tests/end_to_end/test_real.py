"""A published network on its own data: half of the parameters, no fine-tuning."""

from pathlib import Path

import pytest

from eckart import Budget, accuracy, allocate, apply, calibrate, curves, measure
from eckart.search.sequence import Judge
from eckart.stages.allocate import uniform

trained = pytest.importorskip("benchmarks.subjects.trained")
data = pytest.importorskip("benchmarks.subjects.data")


def test_resnet20_on_cifar10_at_half_its_parameters(data_root: Path):
    model = trained.load_resnet(data_root)
    images, _ = data.cifar10(data_root, "train", 200)
    moments = calibrate(model, images.split(100))
    budget = Budget(params=0.5)
    plan = allocate(curves(model, moments, limits="params"), budget)
    baseline = uniform(curves(model, moments, methods=["svd"]), budget)

    images, labels = data.cifar10(data_root, "test", 600)
    test = accuracy(list(zip(images.split(200), labels.split(200), strict=True)))
    smaller = apply(model, plan, moments)
    found = test(smaller).value
    by_svd = apply(model, baseline, moments)
    plain = test(by_svd).value
    assert found >= 0.86  # measured: 0.890, of 0.910 dense; uniform SVD 0.143
    assert found >= plain + 0.30
    judge = Judge.of(test, model, 0.1, 0.95)
    good, trial = judge.passes(smaller, plan.costs["params"])
    assert good
    assert trial.bound < 0.1
    assert trial.score.n < 600, "fewer examples than there are show it"
    refused, trial = judge.passes(by_svd, plan.costs["params"])
    assert not refused
    assert trial.score.n == 200, "one batch"
    costs = measure(smaller, moments.example, latency=False)
    assert costs.params == plan.costs["params"] <= 0.5 * plan.totals["params"]
    assert costs.macs == plan.costs["macs"]
