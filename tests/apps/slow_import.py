"""A module that takes for ever to import."""

from __future__ import annotations

import sys
import time

sys.stderr.write("importing\n")
sys.stderr.flush()
time.sleep(3600)
