"""Three methods to learn from: proximal gradient, FISTA, alternating minimisation."""
