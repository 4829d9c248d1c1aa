"""The rank of a matrix that can only be asked for products."""
