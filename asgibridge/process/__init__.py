"""One process from start to stop."""
