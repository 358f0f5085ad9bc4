"""A module that takes for ever to import: the tests end its process in the middle of that."""

from __future__ import annotations

import sys
import time

sys.stderr.write("importing\n")
sys.stderr.flush()
time.sleep(3600)
