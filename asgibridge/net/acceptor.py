"""Watch the listeners, accept one, ask the gate again; stop watching while there is no room.

[GATE-8] asyncio's own servers accept up to `backlog` clients per event and cannot be paused, so
accepting is done here.  `add_reader` is level-triggered: a client that is left in the kernel's
queue wakes every process that watches, and the first with room takes it.

A server that is alone stays watching at a limit until a client comes who cannot be taken.  Beside
others it pauses with its last thread: being woken for a client who is another's costs more.
"""

from __future__ import annotations

import enum
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asgibridge.net.accept_errors import is_of_connection
from asgibridge.net.deadlines import NEVER, Deadlines
from asgibridge.net.gate import Full, Gate
from asgibridge.net.pauses import PauseReason, PauseTimes
from asgibridge.net.sockets import accept_queue_length, has_waiting_client

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable, Sequence

    from asgibridge.net.sockets import Listener

__all__ = ["Acceptor", "AcceptorSettings", "Watch"]

logger = logging.getLogger("asgibridge")

# Seconds without watching after accept(2) ran out of resources [GATE-7].  Ranch 0.1 s, asyncio 1 s.
RESOURCE_PAUSE: Final = 0.1
# Seconds of being paused that are worth a line in the log.  Short pauses are the gate at work.
WORTH_LOGGING: Final = 1.0
# Seconds after which idle connections, none of which could be closed, are looked at again: they had
# just received something, or had not yet taken their last answer.
EVICTION_RETRY: Final = 0.1
# Seconds that waiting clients give a new connection to send something, before it is parked early.
# More than a client on the same machine needs, less than the parking delay: silent clients
# (preconnected browsers, slow attackers) must not hold up those with requests.
PATIENCE: Final = 0.002
EARLY_LOOK: Final = 0.025  # the same, where it has to be looked whether any wait
_CONTENTION_CACHE: Final = 0.005  # seconds for which "is anybody waiting?" is answered once


class Watch(enum.Enum):
    """Whether the listeners are watched."""

    WATCHING = "watching"
    PAUSED = "paused"
    DRAINING = "draining"
    CLOSED = "closed"


_REASONS: Final = {
    Full.WORKER_CONNECTIONS: PauseReason.WORKER_CONNECTIONS,
    Full.MAX_IN_FLIGHT: PauseReason.MAX_IN_FLIGHT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptorSettings:
    """How to share with other processes.

    Attributes:
        batch: clients accepted per event; 1 when several workers share the sockets, so
            that a burst spreads [GATE-4].
        eviction_delay: seconds in which another process may take a waiting client before an
            idle connection is closed for it [GATE-5].
        pauses_early: at `max_in_flight` do not wait for a client who cannot be taken.
    """

    batch: int = 8
    eviction_delay: float = 0.0
    pauses_early: bool = False


class Acceptor:
    """Accepts for one process, over all its listeners.  Loop thread only.

    Attributes:
        watch: whether the listeners are watched.
        reason: why not, while paused.
        park_silent: parks the new connections that have sent nothing, if there are any.
    """

    park_silent: Callable[[], None] | None = None

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        gate: Gate,
        deadlines: Deadlines,
        admit: Callable[[socket.socket, object, Listener], None],
        settings: AcceptorSettings,
    ) -> None:
        """Prepare to hand each accepted socket to *admit*, which enters it into *gate* at once."""
        self._loop = loop
        self._gate = gate
        self._deadlines = deadlines
        self._admit = admit
        self._settings = settings
        self._listeners: list[Listener] = []
        self.watch = Watch.CLOSED
        self.reason: PauseReason | None = None
        self.times = PauseTimes()
        self._paused_at = 0.0
        self._reason_since = 0.0
        self._is_announced = False
        self._is_short = False  # of descriptors or memory
        self._eviction: asyncio.Handle | None = None
        self._patience: asyncio.Handle | None = None
        self._contention = (0.0, False)
        self._to_drain: dict[Listener, int | None] = {}
        self._on_drained: Callable[[], None] | None = None
        # as an entry of the wheel
        self.deadline = NEVER
        self.slot: int | None = None

    def open(self, listeners: Sequence[Listener]) -> None:
        """Start to watch *listeners*."""
        self._listeners = list(listeners)
        self.watch = Watch.WATCHING
        self._add_readers()

    def drain(self, on_drained: Callable[[], None], *, accept_queued: bool) -> None:
        """Stop taking clients, but for those already queued if *accept_queued*.

        Then call *on_drained*, at once or when the last queued client was accepted.  Those who
        come later are not waited for: see `shutter` for how to keep them from coming.
        """
        self._resume_if_paused()
        self._on_drained = on_drained
        self._remove_readers()
        self.watch = Watch.DRAINING
        self._to_drain = {}
        if accept_queued:
            for listener in self._listeners:
                self._to_drain[listener] = accept_queue_length(listener.socket)
        self._drain_queues()

    def close(self) -> None:
        """Stop watching for good.  The listeners are the caller's to close."""
        self._resume_if_paused()
        if self.watch is Watch.CLOSED:
            return
        self._remove_readers()
        self._gate.watch(None)
        self._deadlines.remove(self)
        self.watch = Watch.CLOSED

    def is_contended(self) -> bool:
        """Say whether clients wait while there is no room for them [GATE-6]."""
        if self.watch is not Watch.PAUSED or self.reason is PauseReason.RESOURCES:
            return False
        now = self._loop.time()
        until, answer = self._contention
        if now >= until:
            answer = self._somebody_waits()
            self._contention = (now + _CONTENTION_CACHE, answer)
        return answer

    def queue_length(self) -> int | None:
        """Count the clients in the kernel's queues; None where the kernel does not tell."""
        lengths = [accept_queue_length(listener.socket) for listener in self._listeners]
        known = [length for length in lengths if length is not None]
        return sum(known) if known else None

    # --- accepting

    def _on_readable(self, listener: Listener) -> None:
        for accepted in range(self._settings.batch):
            full = self._gate.full()
            if full is not None:
                if accepted:
                    break  # perhaps nobody else waits; if so, the next event will tell
                self._pause(_REASONS[full])
                return
            if not self._accept_one(listener):
                return
        self._take_turns(listener)
        if self._settings.pauses_early and self._gate.full() is Full.MAX_IN_FLIGHT:
            self._pause(PauseReason.MAX_IN_FLIGHT)

    def _accept_one(self, listener: Listener) -> bool:
        """Accept one client; return whether it is worth trying for another."""
        try:
            sock, address = listener.socket.accept()
        except BlockingIOError:
            return False  # another process was quicker, or the client left
        except OSError as error:
            if is_of_connection(error):
                return True
            self._pause_for_resources(error)
            return False
        if self._is_short:
            self._is_short = False
            logger.warning("accepting again")
        self._admit(sock, address, listener)
        return True

    def _take_turns(self, served: Listener) -> None:
        """Put *served* behind the other listeners [GATE-4]."""
        if len(self._listeners) > 1:
            self._listeners.remove(served)
            self._listeners.append(served)

    # --- pausing and resuming

    def _pause(self, reason: PauseReason) -> None:
        """Stop watching, or if that is so already, note another reason for it."""
        now = self._loop.time()
        if self.watch is Watch.PAUSED:
            self._note_time(now)
        else:
            self._remove_readers()
            self.watch = Watch.PAUSED
            self.times.count += 1
            self._paused_at = now
            self._contention = (0.0, False)
            first_look = EARLY_LOOK if self._settings.pauses_early else WORTH_LOGGING
            self._deadlines.set(self, now + first_look)
            self._gate.watch(self._on_change)
        self.reason = reason
        self._reason_since = now
        if reason is PauseReason.WORKER_CONNECTIONS and self._eviction is None:
            self._eviction = self._loop.call_later(self._settings.eviction_delay, self._evict)
        elif reason is PauseReason.MAX_IN_FLIGHT and self._patience is None:
            if self._settings.pauses_early:
                return  # nobody waits yet: `on_deadline` looks
            self._patience = self._loop.call_later(PATIENCE, self._lose_patience)

    def _lose_patience(self) -> None:
        """Let nobody wait for those who do not even send a request [GATE-5]."""
        self._patience = None
        if self.reason is PauseReason.MAX_IN_FLIGHT and self.park_silent is not None:
            self.park_silent()

    def _waits_for_resources(self) -> bool:
        return self.reason is PauseReason.RESOURCES

    def _note_time(self, now: float) -> None:
        assert self.reason is not None  # noqa: S101 - a pause has a reason
        self.times.add(self.reason, now - self._reason_since)

    def _on_change(self, *, is_closing: bool) -> None:
        """Use the room that a connection has made by parking, or is making by closing [GATE-3]."""
        if is_closing:
            # Its descriptor is closed right after this callback: let that happen first, so that
            # not even for a moment more than `worker_connections` are open.  [GATE-1]
            self._loop.call_soon(self._use_room)
        else:
            self._use_room()

    def _use_room(self) -> None:
        """Accept those who wait, if there is room; watch again when nobody waits any more.

        Not left to the next event of the loop: kept-alive clients, whose requests come in the same
        event, would take the room before those who wait, time and again.  After a batch it is left
        to the loop all the same, so that a burst does not hold up everybody else.
        """
        if self.watch is Watch.DRAINING:
            self._drain_queues()
            return
        if self.watch is not Watch.PAUSED or self._waits_for_resources():
            return
        accepted = in_vain = 0
        while (full := self._gate.full()) is None:
            if accepted == self._settings.batch or in_vain == len(self._listeners):
                self._resume()
                return
            listener = self._listeners[0]
            self._take_turns(listener)
            if self._accept_one(listener):
                accepted += 1
                in_vain = 0
            elif self._waits_for_resources():
                return
            else:
                in_vain += 1
        self._pause(_REASONS[full])

    def _resume_if_paused(self) -> None:
        if self.watch is Watch.PAUSED:
            self._resume()

    def _resume(self) -> None:
        now = self._loop.time()
        self._note_time(now)
        if self._is_announced:
            self._is_announced = False
            logger.info("gate open paused=%.1fs", now - self._paused_at)
        self.reason = None
        self._deadlines.remove(self)
        self._gate.watch(None)
        if self._eviction is not None:
            self._eviction.cancel()
            self._eviction = None
        self.watch = Watch.WATCHING
        self._add_readers()

    def on_deadline(self, now: float) -> None:
        """Look whether anybody waits, and tell the operator if that lasts."""
        if self.watch is Watch.PAUSED and self.reason is not PauseReason.RESOURCES:
            assert self.reason is not None  # noqa: S101 - a pause has a reason
            is_long = now - self._paused_at >= WORTH_LOGGING
            if self._settings.pauses_early and not (is_long and self._somebody_waits()):
                self._deadlines.set(self, now + WORTH_LOGGING)
                if self._somebody_waits():
                    self._lose_patience()
                return
            self._is_announced = True
            gate = self._gate
            logger.warning(
                "gate full limit=%s open=%d in_flight=%d paused=%.1fs",
                self.reason.value,
                gate.open,
                gate.in_flight,
                now - self._paused_at,
            )

    def _pause_for_resources(self, error: OSError) -> None:
        if not self._is_short:
            self._is_short = True
            logger.error(
                "cannot accept: %s; closing idle connections and trying again every %d ms; "
                "raise the limit of open files or lower worker_connections",
                error.strerror,
                RESOURCE_PAUSE * 1000,
            )
        self._pause(PauseReason.RESOURCES)
        self._try_evict_one()
        self._loop.call_later(RESOURCE_PAUSE, self._end_resource_pause)

    def _end_resource_pause(self) -> None:
        if self.watch is Watch.PAUSED and self.reason is PauseReason.RESOURCES:
            self._resume()

    # --- evicting

    def _evict(self) -> None:
        """Close the longest idle connection if somebody waits for its room [GATE-5]."""
        self._eviction = None
        if self.reason is not PauseReason.WORKER_CONNECTIONS:
            return
        if self._gate.full() is not Full.WORKER_CONNECTIONS:
            return
        if not self._somebody_waits():
            self._resume()  # to hear of the next client: only then is there somebody to evict for
        elif not self._try_evict_one() and self._gate.has_idle:
            self._eviction = self._loop.call_later(EVICTION_RETRY, self._evict)

    def _try_evict_one(self) -> bool:
        return any(member.try_evict() for member in self._gate.longest_idle())

    def _somebody_waits(self) -> bool:
        return any(has_waiting_client(listener.socket) for listener in self._listeners)

    # --- draining

    def _drain_queues(self) -> None:
        """Accept what was queued when draining began, as far as there is room."""
        for listener in list(self._to_drain):
            while (left := self._to_drain.get(listener)) is None or left > 0:
                if self._gate.full() is not None:
                    self._gate.watch(self._on_change)
                    return
                before = self._gate.open
                more = self._accept_one(listener)
                if self.watch is Watch.PAUSED:  # out of descriptors: leave the rest
                    self.watch = Watch.DRAINING
                    self._to_drain.clear()
                    break
                if not more:
                    break
                if left is not None:
                    self._to_drain[listener] = left - (self._gate.open - before)
            self._to_drain.pop(listener, None)
        self._gate.watch(None)
        if self._on_drained is not None:
            on_drained, self._on_drained = self._on_drained, None
            on_drained()

    # --- watching

    def _add_readers(self) -> None:
        for listener in self._listeners:
            self._loop.add_reader(listener.socket, self._on_readable, listener)

    def _remove_readers(self) -> None:
        if self.watch is Watch.WATCHING:
            for listener in self._listeners:
                self._loop.remove_reader(listener.socket)

    def __repr__(self) -> str:
        return f"<Acceptor {self.watch.value} listeners={len(self._listeners)} {self._gate!r}>"
