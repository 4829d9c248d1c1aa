"""Which layers of a network take part, what it costs, and what is done to it."""
