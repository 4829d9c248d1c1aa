"""Layers to trainable factors, at ranks that are given or learned."""

from eckart.stages.factorize.factors import factorize

__all__ = ["factorize"]
