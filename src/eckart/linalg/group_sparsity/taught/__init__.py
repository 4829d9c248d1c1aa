"""Three textbook methods to learn from: proximal gradient, FISTA, alternating minimisation."""
