"""Records: the frozen dataclasses that the stages pass to one another."""

from eckart.records.budgets import Budget
from eckart.records.channels import ChannelGroup, GroupCurve, Removal
from eckart.records.curves import Curve, Curves, Option, Site
from eckart.records.forms import Form, LayerSpec
from eckart.records.healing import Healed, HealingStep
from eckart.records.offer import Offer
from eckart.records.pieces import Piece
from eckart.records.plans import Choice, Plan
from eckart.records.results import Frontier, Measurement, Point
from eckart.records.scores import Score
from eckart.records.searches import FoundRank, ToleranceSearch, Trial
from eckart.records.states import States

__all__ = [
    "Budget",
    "ChannelGroup",
    "Choice",
    "Curve",
    "Curves",
    "Form",
    "FoundRank",
    "Frontier",
    "GroupCurve",
    "Healed",
    "HealingStep",
    "LayerSpec",
    "Measurement",
    "Offer",
    "Option",
    "Piece",
    "Plan",
    "Point",
    "Removal",
    "Score",
    "Site",
    "States",
    "ToleranceSearch",
    "Trial",
]
