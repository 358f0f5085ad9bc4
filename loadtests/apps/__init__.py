"""The applications under load; servers run in this directory and import them by bare names."""
