"""The area under the curve, and torchmetrics' metrics as scores."""

import sys

import pytest
import torch
import torchmetrics
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC

from eckart import accuracy, torch_metric
from eckart.errors import InputError
from eckart.scores import auc
from random_moments import normal


def data(classes: int, n: int = 90) -> tuple[Tensor, Tensor]:
    return normal(n, 5, seed=0).float(), torch.arange(n) % classes


def network(outputs: int) -> nn.Linear:
    model = nn.Linear(5, outputs)
    model.weight.data = normal(outputs, 5, seed=1).float()
    return model


def batches(x: Tensor, y: Tensor, size: int = 40) -> list[tuple[Tensor, Tensor]]:
    return list(zip(x.split(size), y.split(size), strict=True))


@pytest.mark.parametrize("classes", [3, 7])
def test_auc_of_many_classes_is_scikit_learns(classes: int):
    (x, y), model = data(classes), network(classes)
    score = auc(batches(x, y))(model)
    expected = roc_auc_score(y, model(x).softmax(1).detach(), multi_class="ovr")
    assert score.value == pytest.approx(expected, abs=1e-6)
    assert (score.n, score.higher_is_better) == (90, True)


def test_auc_of_two_classes_from_one_logit_or_two_is_scikit_learns():
    (x, y), one = data(2), network(1)
    expected = roc_auc_score(y, one(x).flatten().detach())
    two = network(2)
    two.weight.data = torch.cat([torch.zeros(1, 5), one.weight.data])
    two.bias.data = torch.cat([torch.zeros(1), one.bias.data])
    for model, targets in ((one, y), (one, y[:, None]), (two, y)):
        assert auc(batches(x, targets))(model).value == pytest.approx(expected, abs=1e-6)


def test_auc_needs_every_class():
    x, y = data(3)
    for targets in (y.clamp_max(1), torch.zeros_like(y), y + 1):
        with pytest.raises(InputError, match="has 3 classes"):
            auc([(x, targets)])(network(3))
    for wrong in (y.float(), y[:, None].expand(-1, 2), y - 1):
        with pytest.raises(InputError, match="expected class indices"):
            auc([(x, wrong)])(network(3))


def test_auc_without_torchmetrics_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.classification", None)
    with pytest.raises(InputError, match=r"pip install 'eckart\[metrics\]'"):
        auc([data(2)])


def test_any_metric_is_a_score_each_time_anew():
    (x, y), model = data(4), network(4)
    ours = accuracy(batches(x, y))(model).value
    evaluate = torch_metric(MulticlassAccuracy(4, average="micro"), batches(x, y))
    assert evaluate(model).value == evaluate(model).value == pytest.approx(ours)
    area = torch_metric(
        MulticlassAUROC(4), batches(x, y), predictions=lambda logits: logits.softmax(1)
    )
    assert area(model).value == pytest.approx(auc(batches(x, y))(model).value)
    assert area(model).n == 90


def test_errors_are_lower_better():
    x, _ = data(2)
    model = network(2)
    evaluate = torch_metric(torchmetrics.MeanSquaredError(), batches(x, model(x).detach() + 1))
    score = evaluate(model)
    assert score.value == pytest.approx(1)
    assert not score.higher_is_better


def test_a_metric_that_cannot_be_a_score():
    x, y = data(3)
    with pytest.raises(InputError, match="does not say whether higher is better"):
        torch_metric(torchmetrics.MeanMetric(), [(x, y)])
    with pytest.raises(InputError, match="gives 3 numbers"):
        torch_metric(MulticlassAccuracy(3, average=None), [(x, y)])(network(3))


@pytest.mark.parametrize(
    "make", [accuracy, auc, lambda b: torch_metric(torchmetrics.MeanSquaredError(), b)]
)
def test_batches_are_pairs_that_can_be_read_again(make):
    with pytest.raises(InputError, match="only once"):
        make(iter([data(2)]))
    with pytest.raises(InputError, match="no batch"):
        make([])(network(2))
    with pytest.raises(InputError, match=r"batches of \(inputs, targets\)"):
        make([data(2)[0]])(network(2))
