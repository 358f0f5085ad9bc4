"""Load tests: asgibridge and its peers, started alike, driven in turn, compared in one run."""
