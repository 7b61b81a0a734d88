"""Outage: whether the service can be reached, and when to try again while it cannot.

A circuit breaker decides. It opens, so that everything waits, when two artifacts fail, or the check
fails twice, without a success between them. A single failed artifact does not open it, because
the server may fail on this one object only. Before the first success, one failure is enough if only
the owner can correct its cause, or if it is the check's. While the breaker is open, one upload at a
time probes the service. The log says once that the service is lost (again only if the owner has to
do something else about it) and once that it is back.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from frigate_mirror.faults import Fault
from frigate_mirror.sinks.sink import Misconfigured, SinkError
from frigate_mirror.upload.backoff import Backoff

log = logging.getLogger("frigate_s3.service")
ENOUGH = 2  # doubts that open the breaker
_CHECK = "the check"


@dataclass(frozen=True, slots=True, eq=False)
class Permit:
    """The permission to upload one artifact. It is given back with `succeeded`, `failed` or
    `unused`."""

    era: int


class CircuitBreaker:
    """The state of the service, which all uploads share. `clock` gives Unix seconds, `steady`
    seconds that never go back."""

    def __init__(
        self,
        backoff: Backoff,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backoff = backoff
        self._clock = clock
        self._steady = steady
        self._lock = threading.Lock()
        self._doubts: dict[str, int] = {}
        self._era = 0  # grows with each success; failures of uploads from an earlier era are stale
        self._failures = 0
        self._probe: Permit | None = None
        self._open_until = 0.0
        self._told: set[str] = set()
        self.proven = False
        """Whether any put has succeeded since the start."""
        self.answered = False
        """Whether the service has given a good answer since the start."""
        self.down = False
        self.since = clock()
        self._heard_at = -math.inf
        self.last_fault: Fault | None = None

    @property
    def doubted(self) -> bool:
        """Whether something has failed since the last success."""
        return bool(self._doubts)

    def permit(self) -> Permit | None:
        """Returns the permission to upload now, or None while everything waits. While the service
        is down, one upload at a time is permitted, after a pause."""
        with self._lock:
            if not self.down:
                return Permit(self._era)
            if self._probe is not None or self._wait() > 0:
                return None
            self._probe = Permit(self._era)
            return self._probe

    def pause(self) -> float:
        """Returns the seconds until an upload may start; infinity while a probe is under way."""
        with self._lock:
            if not self.down:
                return 0.0
            return math.inf if self._probe is not None else self._wait()

    def unused(self, permit: Permit) -> None:
        """Takes back the permit of an upload that showed nothing about the service."""
        with self._lock:
            if permit is self._probe:
                self._probe = None

    @property
    def silent_for(self) -> float:
        """The seconds since the last good answer of the service; infinity if there was none."""
        return self._steady() - self._heard_at

    def heard(self) -> None:
        """Notes that the service has answered, though not to what an outage is judged by."""
        self._heard_at = self._steady()

    def succeeded(self) -> bool:
        """Notes that the service took an object; returns whether it was down until now."""
        self.heard()
        self.proven = self.answered = True
        return self._close()

    def failed(self, error: SinkError, permit: Permit, artifact_id: str) -> None:
        """Notes that a put failed and that the artifact is not the cause."""
        with self._lock:
            probe, stale = permit is self._probe, permit.era != self._era
            if probe:
                self._probe = None
                self._failures += 1
                self._open()
            news = self._doubt(artifact_id, error) if probe or not (self.down or stale) else False
        self._tell_lost(news, error)

    def check_failed(self, error: SinkError) -> None:
        """Notes that the check failed. The next probe is not put off, because a put may succeed
        where the check is not allowed."""
        with self._lock:
            news = self._doubt(_CHECK, error)
        self._tell_lost(news, error)

    def check_succeeded(self, *, idle: bool) -> bool:
        """Notes that the check succeeded; returns whether that ends an outage. After two artifacts
        have failed, only a put can end it, and the next probe need not wait; unless there is
        nothing to put (`idle`)."""
        self.heard()
        with self._lock:
            self.answered = True
            self._doubts.pop(_CHECK, None)
            self._open_until = 0.0
            back = idle or (self.down and sum(self._doubts.values()) < ENOUGH)
        return self._close() if back else False

    def _close(self) -> bool:
        with self._lock:
            was_down, since = self.down, self.since
            self._doubts.clear()
            self._era += 1
            self._failures, self._probe, self.down = 0, None, False
            if was_down:
                self.since = self._clock()
        if was_down:
            log.info("S3 service back after %.0f s", max(0.0, self.since - since))
        return was_down

    def _doubt(self, witness: str, error: SinkError) -> bool:
        """Counts a failure of `witness`, an artifact id or the check, and opens the breaker if that
        is enough. Returns whether the log has to tell the owner."""
        now = self._clock()
        self.last_fault = Fault(now, str(error.args[0]), error.hint)
        weight = 1
        if (isinstance(error, Misconfigured) and not self.proven) or (
            witness == _CHECK and not self.answered
        ):
            weight = ENOUGH
        if witness == _CHECK:
            weight += self._doubts.get(_CHECK, 0)
        if not self.down:
            self._doubts[witness] = min(ENOUGH, weight)
            if sum(self._doubts.values()) < ENOUGH:
                return False
            self.down, self.since, self._told, self._failures = True, now, set(), 1
            self._open()
        news = error.hint not in self._told
        self._told.add(error.hint)
        return news

    def _open(self) -> None:
        self._open_until = self._clock() + self._backoff.pause(self._failures)

    def _wait(self) -> float:
        # A clock that was set back must not make the pause longer than a pause can be.
        self._open_until = min(self._open_until, self._clock() + self._backoff.cap)
        return max(0.0, self._open_until - self._clock())

    @staticmethod
    def _tell_lost(news: bool, error: SinkError) -> None:
        if news:
            log.warning("S3 service lost, everything waits: %s", error)
