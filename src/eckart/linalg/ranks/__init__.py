"""Rules for the rank of a matrix, by its spectrum."""
