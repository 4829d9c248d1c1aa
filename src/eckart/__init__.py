"""Make trained PyTorch networks smaller: calibrate once, see the frontier, pick a point."""

from eckart.checkpoint import load, load_pretrained, merge, save
from eckart.errors import BudgetError, CalibrationInterrupted, EckartError, EckartWarning
from eckart.factors import factorize
from eckart.metrics import Embedding, Fisher, Logits, NextToken, Similarity
from eckart.moments import Moments
from eckart.pipeline import Compressed, compress, frontier
from eckart.records import Budget, Curves, Frontier, Offer, Plan, Score
from eckart.report import write_report
from eckart.scores import accuracy, perplexity, torch_metric
from eckart.search.rank import find_rank
from eckart.stages.allocate import allocate, hull
from eckart.stages.apply import apply
from eckart.stages.calibrate import calibrate
from eckart.stages.curves import curves
from eckart.stages.heal import heal
from eckart.stages.measure import measure
from eckart.text import windows

__all__ = [
    "Budget",
    "BudgetError",
    "CalibrationInterrupted",
    "Compressed",
    "Curves",
    "EckartError",
    "EckartWarning",
    "Embedding",
    "Fisher",
    "Frontier",
    "Logits",
    "Moments",
    "NextToken",
    "Offer",
    "Plan",
    "Score",
    "Similarity",
    "accuracy",
    "allocate",
    "apply",
    "calibrate",
    "compress",
    "curves",
    "factorize",
    "find_rank",
    "frontier",
    "heal",
    "hull",
    "load",
    "load_pretrained",
    "measure",
    "merge",
    "perplexity",
    "save",
    "torch_metric",
    "windows",
    "write_report",
]
