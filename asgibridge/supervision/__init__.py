"""Several processes on one socket: start them, watch them, replace them."""
