"""Readable names of processes for `ps` and `top`, where setproctitle is installed."""

from __future__ import annotations

__all__ = ["set_title"]


def set_title(role: str, application: str) -> None:
    """Show this process as `asgibridge: ROLE [APPLICATION]`; do nothing without setproctitle."""
    try:
        import setproctitle  # noqa: PLC0415 - a comfort that not everybody has installed
    except ImportError:
        return
    setproctitle.setproctitle(f"asgibridge: {role} [{application}]")
