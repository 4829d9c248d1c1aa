"""Scores to evaluate networks with; any other function of a network works too."""

from eckart.scores.by_example import ByExample
from eckart.scores.classification import accuracy, auc
from eckart.scores.items import Item, read_items
from eckart.scores.language import perplexity, spearman
from eckart.scores.running import Evaluate
from eckart.scores.torch_metrics import TorchMetric, torch_metric
from eckart.scores.zero_shot import Answered, answered

__all__ = [
    "Answered",
    "ByExample",
    "Evaluate",
    "Item",
    "TorchMetric",
    "accuracy",
    "answered",
    "auc",
    "perplexity",
    "read_items",
    "spearman",
    "torch_metric",
]
