"""Gradients and minimisers: of factored least squares, and of the Rayleigh quotient."""
