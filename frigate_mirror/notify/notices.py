"""Notices: tells the owner when something stays wrong, when it is well again, and how the day was.

One thread looks at the status and puts notices into the outbox. Each way has a thread of its own
that takes them from there, so a way that is silent holds up nothing but itself. A process that is
dead tells nothing: for that there is the ping (`ping`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from frigate_mirror.ledger.ledger import LedgerError
from frigate_mirror.notify import notice
from frigate_mirror.notify.notice import OURS, Notice, View
from frigate_mirror.notify.outbox import Outbox
from frigate_mirror.notify.watch import WELL, WRONG
from frigate_mirror.notify.way import NotSent, Way
from frigate_mirror.part import Part, Task
from frigate_mirror.upload.backoff import Backoff

log = logging.getLogger("frigate_s3.notify")
FILE_NAME = "notices.json"  # in the state folder
LOOK_EVERY = 5.0  # seconds
KEEP_EVERY = 60.0  # seconds; a process that is killed forgets as much of a trouble
SEND_EVERY = 2.0  # seconds between two looks whether there is something to send
GOODBYE = 2.0  # seconds that the end of the process waits for a notice that is under way
PATIENCE = 600.0  # seconds that a way may fail before that is a trouble
HOUR = 3_600.0
BACKOFF = Backoff(base=10.0, cap=600.0)


class Delivery:
    """Sends the notices of one way, one after the other. `steady` gives seconds that never go
    back."""

    def __init__(self, way: Way, outbox: Outbox, steady: Callable[[], float]) -> None:
        self._way = way
        self._outbox = outbox
        self._steady = steady
        self._under_way = threading.Lock()
        self._stopping = False
        self._waits_since: float | None = None
        self._again_at = 0.0
        self._failures = 0
        self._why = "it does not answer"
        outbox.serve(way.name)

    def task(self) -> Task:
        return Task(f"notify {self._way.name}", SEND_EVERY, self.send_notices)

    def send_notices(self) -> None:
        """Sends the oldest notice that waits, unless the last failure was a moment ago."""
        with self._under_way:
            first, now = self._outbox.first(self._way.name), self._steady()
            if first is None:
                self._waits_since = None
                return
            if self._waits_since is None:
                self._waits_since = now
            if self._stopping or now < self._again_at:
                return
            try:
                self._way.send(first)
            except NotSent as error:
                self._failed(str(error))
            else:
                self._outbox.sent(self._way.name, first)
                self._failures, self._waits_since = 0, None
                log.info("S3 notice sent by %s: %s", self._way.name, first.title)

    def _failed(self, why: str) -> None:
        self._failures += 1
        self._again_at = self._steady() + BACKOFF.pause(self._failures)
        self._why = why
        if self._failures == 1:
            log.warning("S3 notice not sent by %s, and tried again: %s", self._way.name, why)

    def trouble(self) -> str:
        """Returns what is wrong with this way, or an empty text. Waits for nothing."""
        since = self._waits_since
        if since is None or self._steady() - since < PATIENCE:
            return ""
        return f"{OURS}none can be sent by {self._way.name}: {self._why}"

    def stop(self, timeout: float) -> None:
        """Sends no further notice, and waits a moment for one that is under way."""
        self._stopping = True
        if self._under_way.acquire(timeout=timeout):
            self._under_way.release()


class Notices(Part):
    """Tells the owner what `look` finds, over each of the `ways`. `look` may raise LedgerError.

    `name` is the owner's name for this mirror. A trouble is told when it has lasted for `after`
    seconds. `digest_at` is the minute of the owner's day for the digest, or None. `folder` holds
    the outbox. `clock` gives Unix seconds, `steady` seconds that never go back.
    """

    def __init__(
        self,
        look: Callable[[], View],
        folder: Path,
        ways: Iterable[Way],
        *,
        name: str,
        after: float,
        digest_at: int | None,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self._name = name
        self._after = after
        self._digest_at = digest_at
        self._clock = clock
        self._steady = steady
        self._outbox = Outbox(folder / FILE_NAME)
        self._memory = self._outbox.memory
        self._looked: float | None = None
        self._kept_at = steady()
        self._deliveries: list[Delivery] = []
        for way in ways:
            self.add(way)

    def add(self, way: Way) -> None:
        """Adds a way, before the mirror starts."""
        self._deliveries.append(Delivery(way, self._outbox, self._steady))

    def tasks(self) -> list[Task]:
        if not self._deliveries:
            return []
        sending = [one.task() for one in self._deliveries]
        return [Task("notify", LOOK_EVERY, self.watch_health), *sending]

    def watch_health(self) -> None:
        """Looks at the status, and puts the notices that are due into the outbox."""
        now, steady = self._clock(), self._steady()
        try:
            view = self._look()
        except LedgerError as error:
            view = notice.blind(str(error))
        passed = 0.0 if self._looked is None else steady - self._looked
        self._looked = steady
        self._tell_health(view, passed, now)
        self._tell_day(view, now)
        if self._memory.watch.since is not None and steady - self._kept_at >= KEEP_EVERY:
            self._keep()

    def _tell_health(self, view: View, passed: float, now: float) -> None:
        watch = self._memory.watch
        again, began = watch.told == view.health, watch.since
        due = watch.look(view.health, passed, after=self._after, now=now)
        since = now if began is None else min(max(0.0, began), now)  # the clock may have been set
        if due == WRONG:
            self._keep(notice.wrong(self._name, view, since, now, again=again))
        elif due == WELL:
            self._keep(notice.well(self._name, view, since, now))
        elif began is not None and watch.since is None:
            self._keep()

    def _tell_day(self, view: View, now: float) -> None:
        if self._digest_at is None or view.uploaded is None:
            return
        memory = self._memory
        last, before = memory.digested, memory.uploaded or 0
        if last is None or not 0.0 <= last <= now + HOUR:  # none yet, or the clock was set back
            memory.digested, memory.uploaded = now, view.uploaded
            self._keep()
        elif last < latest(self._digest_at, now):
            memory.digested, memory.uploaded = now, view.uploaded
            uploaded = max(0, view.uploaded - before)
            self._keep(notice.digest(self._name, view, uploaded, last, now))

    def _keep(self, new: Notice | None = None) -> None:
        self._kept_at = self._steady()
        self._outbox.keep(self._memory, new)

    def troubles(self) -> list[str]:
        found = [one.trouble() for one in self._deliveries]
        if self._outbox.fault:
            found.append(f"{OURS}a new start may repeat or forget some: {self._outbox.fault}")
        return [trouble for trouble in found if trouble]

    def finish(self) -> None:
        until = self._steady() + GOODBYE
        for one in self._deliveries:
            one.stop(max(0.0, until - self._steady()))


def latest(minute: int, now: float) -> float:
    """Returns the last moment up to `now` at which the owner's clocks showed this minute of the
    day, in Unix seconds."""
    day = time.localtime(now)
    for back in (0, 1):
        date = (day.tm_year, day.tm_mon, day.tm_mday - back)
        at = time.mktime((*date, minute // 60, minute % 60, 0, 0, 0, -1))
        if at <= now:
            break
    return at
