"""The settings in force, and those on trial: a rolling restart that fails changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asgibridge.config.settings import Config

__all__ = ["Generations"]


class Generations:
    """Numbers the settings that workers are started with.

    Attributes:
        config: what the next worker is started with.
        number: its generation.
    """

    def __init__(self, config: Config) -> None:
        """Begin with *config*, which is not on trial: there is nothing to go back to."""
        self.config = config
        self.number = 1
        self._before: tuple[Config, int] | None = None

    @property
    def is_on_trial(self) -> bool:
        """Whether no worker has become ready with the present settings, but some with others."""
        return self._before is not None

    def propose(self, config: Config) -> None:
        """Start workers with *config* from now on, to see whether they become ready."""
        if self._before is None:
            self._before = (self.config, self.number)
        self.config = config
        self.number += 1

    def confirm(self) -> None:
        """Settle on the present settings."""
        self._before = None

    def take_back(self) -> None:
        """Return to the settings with which workers serve.

        Raises:
            AssertionError: there are none.
        """
        if self._before is None:
            raise AssertionError("take_back() without propose()")
        (self.config, self.number), self._before = self._before, None
