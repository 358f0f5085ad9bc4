"""The exception tree: everything that asgibridge raises on purpose.

Messages state the fact, then the next step.  Only `asgibridge.cli` turns them into exit codes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ApplicationRaised",
    "AsgibridgeError",
    "BindError",
    "ClientDisconnected",
    "IllegalMove",
    "LifespanFailed",
    "LoadError",
    "ResponseError",
    "SettingsError",
    "StartError",
    "TlsError",
    "WorkerFailed",
]


class AsgibridgeError(Exception):
    """The root of the tree."""


class SettingsError(AsgibridgeError):
    """One or more settings are wrong.  All of them are listed, each with its origin."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        """Keep the *mistakes*, one readable line each."""
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


class StartError(AsgibridgeError):
    """The server could not start."""


class LoadError(StartError):
    """The application could not be found, or what was found is no application."""


class ApplicationRaised(LoadError):
    """Importing the application, or calling its factory, raised: see `__cause__`."""


class BindError(StartError):
    """A listening socket could not be opened."""


class TlsError(StartError):
    """A certificate, a key or what goes with them cannot be used."""


class LifespanFailed(StartError):
    """The application's lifespan startup failed or took too long."""


class WorkerFailed(StartError):
    """No worker could be started."""

    def __init__(self, message: str, trace: str) -> None:
        """Pass on what the last of them said: *message*, and the application's own *trace*."""
        super().__init__(message)
        self.trace = trace


class IllegalMove(AsgibridgeError):
    """A state machine was asked for a move that is not in its table."""

    def __init__(self, state: object, event: object) -> None:
        """Name both sides: the *state* it was in and the *event* that does not fit."""
        super().__init__(f"no move from {state} on {event}")
        self.state = state
        self.event = event


class ResponseError(AsgibridgeError):
    """The application's response breaks HTTP, PEP 3333 or the ASGI specification."""


class ClientDisconnected(AsgibridgeError, OSError):
    """The client is gone; nothing more can be sent to it.

    An `OSError` because the ASGI specification (HTTP 2.4) asks that `send()` raises one.
    """
