"""Real video servers that tests start."""
