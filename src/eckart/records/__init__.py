"""The nouns: frozen dataclasses that the stages hand to one another."""

from eckart.records.channels import ChannelGroup, GroupCurve, Removal
from eckart.records.forms import Form, LayerSpec, Piece
from eckart.records.healing import Healed, HealingStep
from eckart.records.moments import Moments
from eckart.records.plans import Budget, Choice, Curve, Curves, Option, Plan, Site
from eckart.records.results import Compressed, Frontier, Measurement, Point, Score

__all__ = [
    "Budget",
    "ChannelGroup",
    "Choice",
    "Compressed",
    "Curve",
    "Curves",
    "Form",
    "Frontier",
    "GroupCurve",
    "Healed",
    "HealingStep",
    "LayerSpec",
    "Measurement",
    "Moments",
    "Option",
    "Piece",
    "Plan",
    "Point",
    "Removal",
    "Score",
    "Site",
]
