"""Service: whether the bucket can be reached, and when to try again while it cannot.

It counts as down when two artifacts failed, or the check did, with no success between them. One
alone may be a single object that the server stumbles over, and the others go on. While nothing has
got through yet, one is enough: of what only the owner can mend, or of the check. While it is down
everything waits, and one upload at a time is the probe. It is said once when it is lost (again only
if the owner would have to do something else about it) and once when it is back.
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
ENOUGH = 2  # doubts that make it down
_CHECK = "the check"


@dataclass(frozen=True, slots=True, eq=False)
class Leave:
    """To upload one artifact. It is given back with `worked`, `failed` or `idle`."""

    era: int


class Service:
    """The state of the bucket, shared by all uploads. `clock` gives Unix seconds."""

    def __init__(self, backoff: Backoff, clock: Callable[[], float] = time.time) -> None:
        self._backoff = backoff
        self._clock = clock
        self._lock = threading.Lock()
        self._doubts: dict[str, int] = {}
        self._era = 0  # grows with each success: what began before it can no longer raise doubt
        self._failures = 0
        self._probe: Leave | None = None
        self._open_at = 0.0
        self._said: set[str] = set()
        self.proven = False
        """Whether any put has got through since the start."""
        self.answered = False
        """Whether the destination has answered as it should since the start."""
        self.down = False
        self.since = clock()
        self.last_fault: Fault | None = None

    @property
    def doubted(self) -> bool:
        """Whether something has failed since the last success."""
        return bool(self._doubts)

    def admit(self) -> Leave | None:
        """Leave to start an upload now; None while everything waits, but for one probe."""
        with self._lock:
            if not self.down:
                return Leave(self._era)
            if self._probe is not None or self._wait() > 0:
                return None
            self._probe = Leave(self._era)
            return self._probe

    def pause(self) -> float:
        """Seconds until an upload may start, infinite while one is the probe."""
        with self._lock:
            if not self.down:
                return 0.0
            return math.inf if self._probe is not None else self._wait()

    def idle(self, leave: Leave) -> None:
        """There was nothing to upload, or what came of it says nothing about the service."""
        with self._lock:
            if leave is self._probe:
                self._probe = None

    def worked(self) -> bool:
        """The service took an object; True if it was down until now."""
        self.proven = self.answered = True
        return self._up()

    def failed(self, error: SinkError, leave: Leave, artifact_id: str) -> None:
        """A put failed through no fault of the artifact."""
        with self._lock:
            probe, stale = leave is self._probe, leave.era != self._era
            if probe:
                self._probe = None
                self._failures += 1
                self._shut()
            news = self._doubt(artifact_id, error) if probe or not (self.down or stale) else False
        self._tell_lost(news, error)

    def check_failed(self, error: SinkError) -> None:
        """A sign of life did not come. Never puts off the next probe: a check may fail for good
        where a put would not."""
        with self._lock:
            news = self._doubt(_CHECK, error)
        self._tell_lost(news, error)

    def check_worked(self, *, idle: bool) -> bool:
        """A sign of life came; True if that ends an outage. While two artifacts have failed, only
        a put can, but the next one need not wait; unless there is none to try (`idle`)."""
        with self._lock:
            self.answered = True
            self._doubts.pop(_CHECK, None)
            self._open_at = 0.0
            back = idle or (self.down and sum(self._doubts.values()) < ENOUGH)
        return self._up() if back else False

    def _up(self) -> bool:
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
        """Note who failed; True if that is news for the owner."""
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
            self.down, self.since, self._said, self._failures = True, now, set(), 1
            self._shut()
        news = error.hint not in self._said
        self._said.add(error.hint)
        return news

    def _shut(self) -> None:
        self._open_at = self._clock() + self._backoff.pause(self._failures)

    def _wait(self) -> float:
        # A clock set back must not keep us waiting for longer than a pause can be.
        self._open_at = min(self._open_at, self._clock() + self._backoff.cap)
        return max(0.0, self._open_at - self._clock())

    @staticmethod
    def _tell_lost(news: bool, error: SinkError) -> None:
        if news:
            log.warning("S3 service lost, everything waits: %s", error)
