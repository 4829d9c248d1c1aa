"""Layers to trainable factors, at ranks that are given or learned."""

from eckart.stages.factorize.factors import factorize
from eckart.stages.factorize.learning import LearnedRanks

__all__ = ["LearnedRanks", "factorize"]
