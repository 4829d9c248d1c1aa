"""Make trained PyTorch networks smaller: calibrate once, see the frontier, pick a point."""

from eckart.checkpoint import load, merge, save
from eckart.errors import (
    BudgetError,
    CalibrationInterrupted,
    CheckpointError,
    EckartError,
    EckartWarning,
    InputError,
    LeftDenseWarning,
    MismatchError,
    NonFiniteError,
)
from eckart.metrics import Fisher, Logits
from eckart.pipeline import compress, frontier
from eckart.records import (
    Budget,
    Compressed,
    Curves,
    Frontier,
    Healed,
    Measurement,
    Moments,
    Plan,
    Score,
)
from eckart.scores import accuracy
from eckart.stages.allocate import allocate, hull, uniform
from eckart.stages.apply import apply
from eckart.stages.calibrate import calibrate
from eckart.stages.curves import curves
from eckart.stages.factorize import LearnedRanks, factorize
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
    "Fisher",
    "Frontier",
    "Healed",
    "InputError",
    "LearnedRanks",
    "LeftDenseWarning",
    "Logits",
    "Measurement",
    "MismatchError",
    "Moments",
    "NonFiniteError",
    "Plan",
    "Score",
    "accuracy",
    "allocate",
    "apply",
    "calibrate",
    "compress",
    "curves",
    "factorize",
    "frontier",
    "heal",
    "hull",
    "load",
    "measure",
    "merge",
    "save",
    "uniform",
]
