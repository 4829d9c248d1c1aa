"""Make trained PyTorch networks smaller: calibrate once, see the frontier, pick a point."""

from eckart.checkpoint import load, load_pretrained, merge, save
from eckart.errors import (
    BudgetError,
    CalibrationInterrupted,
    CheckpointError,
    EckartError,
    EckartWarning,
    InputError,
    LeftDenseWarning,
    MismatchError,
    NoGradientError,
    NonFiniteError,
    NotMonotoneWarning,
)
from eckart.factors import LearnedRanks, factorize
from eckart.metrics import Embedding, Fisher, Logits, NextToken, Similarity
from eckart.moments import Moments
from eckart.pipeline import Compressed, compress, frontier
from eckart.records import (
    Budget,
    Curves,
    FoundRank,
    Frontier,
    Healed,
    Measurement,
    Plan,
    Score,
    ToleranceSearch,
)
from eckart.scores import accuracy, auc, perplexity, spearman, torch_metric
from eckart.search.rank import find_rank
from eckart.stages.allocate import allocate, hull, uniform
from eckart.stages.apply import apply
from eckart.stages.calibrate import calibrate
from eckart.stages.curves import curves
from eckart.stages.heal import heal
from eckart.stages.measure import measure

__all__ = [
    "Budget",
    "BudgetError",
    "CalibrationInterrupted",
    "CheckpointError",
    "Compressed",
    "Curves",
    "EckartError",
    "EckartWarning",
    "Embedding",
    "Fisher",
    "FoundRank",
    "Frontier",
    "Healed",
    "InputError",
    "LearnedRanks",
    "LeftDenseWarning",
    "Logits",
    "Measurement",
    "MismatchError",
    "Moments",
    "NextToken",
    "NoGradientError",
    "NonFiniteError",
    "NotMonotoneWarning",
    "Plan",
    "Score",
    "Similarity",
    "ToleranceSearch",
    "accuracy",
    "allocate",
    "apply",
    "auc",
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
    "spearman",
    "torch_metric",
    "uniform",
]
