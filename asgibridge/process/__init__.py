"""Composition: one process from start to stop."""
