"""Randomised decompositions, and the ranges they stand on."""
