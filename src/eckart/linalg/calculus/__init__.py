"""Gradients and minimisers of factors, and of the Rayleigh quotient."""
