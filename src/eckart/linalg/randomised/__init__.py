"""Randomised decompositions, and the bases of ranges that they need."""
