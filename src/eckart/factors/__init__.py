"""Replace layers by trainable factors, at ranks that are given or learned."""

from eckart.factors.fixed_ranks import factorize
from eckart.factors.learned_ranks import LearnedRanks

__all__ = ["LearnedRanks", "factorize"]
