"""Where networks and data come from."""
