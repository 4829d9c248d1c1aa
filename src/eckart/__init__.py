"""Make trained PyTorch networks smaller: calibrate once, see the frontier, pick a point.

A name is imported when it is first asked for, so that the command line shows its help and refuses
arguments before torch is there.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eckart.checkpoint import load, load_pretrained, merge, save
    from eckart.errors import BudgetError, CalibrationInterrupted, EckartError, EckartWarning
    from eckart.exporting import export
    from eckart.factors import factorize
    from eckart.metrics import Embedding, Fisher, Logits, NextToken, Outputs, Similarity
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
    from eckart.stages.profile import profile
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
    "Outputs",
    "Plan",
    "Score",
    "Similarity",
    "accuracy",
    "allocate",
    "apply",
    "calibrate",
    "compress",
    "curves",
    "export",
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
    "profile",
    "save",
    "torch_metric",
    "windows",
    "write_report",
]

_HOMES = {
    "Budget": "eckart.records",
    "BudgetError": "eckart.errors",
    "CalibrationInterrupted": "eckart.errors",
    "Compressed": "eckart.pipeline",
    "Curves": "eckart.records",
    "EckartError": "eckart.errors",
    "EckartWarning": "eckart.errors",
    "Embedding": "eckart.metrics",
    "Fisher": "eckart.metrics",
    "Frontier": "eckart.records",
    "Logits": "eckart.metrics",
    "Moments": "eckart.moments",
    "NextToken": "eckart.metrics",
    "Offer": "eckart.records",
    "Outputs": "eckart.metrics",
    "Plan": "eckart.records",
    "Score": "eckart.records",
    "Similarity": "eckart.metrics",
    "accuracy": "eckart.scores",
    "allocate": "eckart.stages.allocate",
    "apply": "eckart.stages.apply",
    "calibrate": "eckart.stages.calibrate",
    "compress": "eckart.pipeline",
    "curves": "eckart.stages.curves",
    "export": "eckart.exporting",
    "factorize": "eckart.factors",
    "find_rank": "eckart.search.rank",
    "frontier": "eckart.pipeline",
    "heal": "eckart.stages.heal",
    "hull": "eckart.stages.allocate",
    "load": "eckart.checkpoint",
    "load_pretrained": "eckart.checkpoint",
    "measure": "eckart.stages.measure",
    "merge": "eckart.checkpoint",
    "perplexity": "eckart.scores",
    "profile": "eckart.stages.profile",
    "save": "eckart.checkpoint",
    "torch_metric": "eckart.scores",
    "windows": "eckart.text",
    "write_report": "eckart.report",
}


def __getattr__(name: str) -> Any:
    """A public name, or a module of the package, imported now."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    module = f"{__name__}.{name}"
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
