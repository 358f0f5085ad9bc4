"""`python -m asgibridge`: the same as the installed command."""

from __future__ import annotations

from asgibridge.cli import main

if __name__ == "__main__":
    main()
