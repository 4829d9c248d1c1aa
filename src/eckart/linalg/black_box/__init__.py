"""The number of directions that a function depends on, found from its values or gradients."""
