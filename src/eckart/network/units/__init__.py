"""Units of known modules: the width of an MLP, and heads of attention, found by their layers."""

from eckart.network.units.counts import counts_after
from eckart.network.units.proposed import Candidate, candidates

__all__ = ["Candidate", "candidates", "counts_after"]
