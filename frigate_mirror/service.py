"""Service: whether the bucket can be reached, and when to try again while it cannot.

While it is down everything waits and one upload at a time is the probe. One failure alone does not
make it down: that may be a single object the server stumbles over, and the others go on. It is said
once when it is lost (again only if the owner would have to do something else about it) and once
when it is back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from frigate_mirror.backoff import Backoff
from frigate_mirror.sink import Misconfigured, SinkError

log = logging.getLogger("frigate_s3.service")
FAILURES_TO_BE_DOWN = 2


@dataclass(frozen=True, slots=True)
class Fault:
    """The last error: when (Unix seconds), what, and what the owner can do about it."""

    at: float
    message: str
    hint: str


class Service:
    """The state of the bucket, shared by all uploads. `clock` gives Unix seconds."""

    def __init__(self, backoff: Backoff, clock: Callable[[], float] = time.time) -> None:
        self._backoff = backoff
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._probing = False
        self._said: set[str] = set()
        self.open_at = 0.0
        self.down = False
        self.since = clock()
        self.last_fault: Fault | None = None

    def admits(self) -> bool:
        """Whether an upload may start now. While in doubt it says so to one caller at a time,
        who must then report `worked`, `failed` or `idle`."""
        with self._lock:
            if self._failures == 0:
                return True
            if self._probing or self._clock() < self.open_at:
                # A clock set back must not keep us waiting for longer than a pause can be.
                if self.open_at - self._clock() > self._backoff.cap:
                    self.open_at = self._clock()
                return False
            self._probing = True
            return True

    def idle(self) -> None:
        """There was nothing to probe with, or the try said nothing about the service."""
        with self._lock:
            self._probing = False

    def worked(self) -> bool:
        """The service took an object; True if that was in doubt before."""
        with self._lock:
            in_doubt, was_down = self._failures > 0, self.down
            self._failures, self._probing = 0, False
            if was_down:
                self.down, since, self.since = False, self.since, self._clock()
                lasted = max(0.0, self.since - since)
        if was_down:
            log.info("S3 service back after %.0f s", lasted)
        return in_doubt

    def failed(self, error: SinkError) -> None:
        """A put or a check failed through no fault of the artifact."""
        now = self._clock()
        with self._lock:
            in_doubt_already = self._failures > 0 and now < self.open_at and not self._probing
            self._probing = False
            self.last_fault = Fault(now, str(error.args[0]), error.hint)
            if in_doubt_already and not isinstance(error, Misconfigured):
                return  # one of many that were under way when the first failed
            self._failures += 1
            self.open_at = now + self._backoff.pause(self._failures)
            if not self.down and not self._is_lost_by(error):
                return
            if not self.down:
                self.down, self.since, self._said = True, now, set()
            news = error.hint not in self._said
            self._said.add(error.hint)
        if news:
            log.warning("S3 service lost, everything waits: %s", error)

    def _is_lost_by(self, error: SinkError) -> bool:
        return self._failures >= FAILURES_TO_BE_DOWN or isinstance(error, Misconfigured)

    def hurry(self) -> None:
        """A check got through: let the next upload find out whether puts do too."""
        with self._lock:
            self.open_at = 0.0
