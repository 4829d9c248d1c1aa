"""Scores to evaluate networks with; any other function of a network works too."""

from eckart.scores.by_example import ByExample
from eckart.scores.classification import accuracy, auc
from eckart.scores.language import perplexity, spearman
from eckart.scores.running import Evaluate
from eckart.scores.torch_metrics import TorchMetric, torch_metric

__all__ = [
    "ByExample",
    "Evaluate",
    "TorchMetric",
    "accuracy",
    "auc",
    "perplexity",
    "spearman",
    "torch_metric",
]
