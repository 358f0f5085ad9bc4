"""Calls the user's code.  Knows no socket."""
