"""Rules that choose the rank of a matrix from its spectrum."""
