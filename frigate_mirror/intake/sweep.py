"""Sweep: compares the catalog with the ledger, so that an id that a source loses costs no file."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Any

from frigate_mirror.catalog import Catalog, CatalogError
from frigate_mirror.faults import Troubles
from frigate_mirror.intake.intake import Intake
from frigate_mirror.intake.window import Window
from frigate_mirror.ledger.ledger import Ledger, LedgerError
from frigate_mirror.part import Part, Task

log = logging.getLogger("frigate_s3")
LOOK_EVERY = 1.0  # seconds
REST = 5.0  # seconds at least between two sweeps that are asked for
SHARE = 10  # of the time, that they may take all together: one of so many parts
HOUR, DAY = 3_600.0, 86_400.0
SELECT_EVERY = 600.0  # seconds
AGAIN = 10.0  # seconds after a sweep; then there is another one if the catalog has failed
COMPARE_EVERY = 600.0
HOLD_EVERY = 60.0
MADE_AT_ONCE = 50  # bulk files, or pages of documents, between two looks at the other tasks
CHANGES_AT_ONCE = 10_000  # subjects of the last hour that one sweep compares with their uploads


class Sweep(Part):
    """Sweeps the window every `interval` seconds. `longest_pause` is the longest time, in
    seconds, for which an artifact may be put off; subjects of the last `changes` seconds are
    compared with their uploads more often than others; `clock` gives Unix seconds."""

    def __init__(
        self,
        intake: Intake[Any],
        catalog: Catalog[Any],
        ledger: Ledger,
        window: Window,
        *,
        interval: float,
        longest_pause: float,
        changes: float = DAY,
        troubles: Troubles,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._intake = intake
        self._catalog = catalog
        self._ledger = ledger
        self._window = window
        self._interval = interval
        self._longest_pause = longest_pause
        self._changes = changes
        self._stopped = False
        self._asked = False
        self._again_at = 0.0
        self._rests_until = -math.inf  # on time.monotonic, like the one before
        self._swept_at: float | None = None
        self._took: float | None = None
        self._troubles = troubles
        self._clock = clock

    def tasks(self) -> list[Task]:
        return [
            Task("wait", LOOK_EVERY, self.look_for_waiting),
            Task("sweep", self._interval, self.sweep),
            Task("sweep", LOOK_EVERY, self.catch_up),
            Task("sweep", SELECT_EVERY, self.look_for_selected),
            Task("sweep", COMPARE_EVERY, self.compare),
            Task("sweep", HOUR, self.look_for_gone),
            Task("follow", LOOK_EVERY, self.follow),
            Task("bulk", LOOK_EVERY, self.make),
            Task("bulk", HOLD_EVERY, self.hold_bulk),
        ]

    def status(self) -> dict[str, Any]:
        return {"swept_at": self._swept_at, "sweep_took": self._took}

    def ask(self) -> None:
        """Asks for a sweep soon, because a source may have missed something."""
        self._asked = True

    def catch_up(self) -> None:
        """Sweeps if somebody has asked for it since the last sweep, and soon after the catalog has
        failed, so that the trouble ends with its cause and nothing waits for the next sweep. A
        broker that comes and goes asks again and again, and the recorder must not feel it."""
        began = time.monotonic()
        failed = self._troubles.noted("database") and began >= self._again_at
        if failed or (self._asked and began >= self._rests_until):
            self.sweep()
            took = time.monotonic() - began
            rest = min(max(REST, took * (SHARE - 1)), self._interval)
            self._rests_until = began + took + rest

    def sweep(self) -> None:
        """Corrects due times after the clock was set, then finds files that no source offered and
        files that the recorder has changed. Each step runs even if another fails, so that files are
        held while the ledger cannot be written."""
        self._asked = False
        self._again_at = time.monotonic() + AGAIN
        began = time.monotonic()
        now, sound = self._clock(), True
        for step in (self._mend_clock, self._hold, self._compare, self._look_for_changes):
            try:
                step(now)
            except (CatalogError, LedgerError) as error:
                self._troubles.note_error(error)
                sound = False
        if sound:
            self._swept_at, self._took = self._clock(), time.monotonic() - began
            self._troubles.note("database", "")
            self._troubles.note("ledger", "")

    def look_for_waiting(self) -> None:
        """Looks again for files that were missing or incomplete."""
        try:
            self._intake.look_for_waiting()
        except (CatalogError, LedgerError) as error:
            self._troubles.note_error(error)

    def follow(self) -> None:
        """Looks again at files that describe others."""
        try:
            for _ in range(MADE_AT_ONCE):
                if not self._intake.follow():
                    return
        except (CatalogError, LedgerError) as error:
            self._troubles.note_error(error)

    def make(self) -> None:
        """Makes the bulk files that are due."""
        try:
            for _ in range(MADE_AT_ONCE):
                if self._stopped or not self._intake.make_next():
                    return
        except (CatalogError, LedgerError) as error:
            self._troubles.note_error(error)

    def hold_bulk(self) -> None:
        """Holds bulk files for which the spool had no room."""
        try:
            self._intake.hold_bulk(MADE_AT_ONCE)
        except LedgerError as error:
            self._troubles.note_error(error)

    def stop(self) -> None:
        """Makes no further bulk file."""
        self._stopped = True

    def compare(self) -> None:
        """Compares the subjects of the last hours with their uploads, if files describe subjects,
        and once a day all of the window."""
        now = self._clock()
        try:
            if not self._ledger.note("changes"):  # nothing was uploaded before
                self._ledger.set_note("changes", repr(now))
            all_of_it = self._a_day_has_passed("changes", now)
            if not all_of_it and not self._intake.describes:
                return
            since = now - (self._window.length if all_of_it else self._changes + HOUR)
            changed = 0
            for page in self._catalog.window(max(since, now - self._window.length), math.inf):
                changed += self._intake.look_for_changes(page)
            if all_of_it:
                self._ledger.set_note("changes", repr(now))
        except (CatalogError, LedgerError) as error:
            self._troubles.note_error(error)
            return
        self._tell_changed(changed)

    def look_for_selected(self) -> None:
        """Looks again at what the owner's filters left out, because an event's review and its sub
        label can come late: at the events of the last day, and once a day at the whole window."""
        now = self._clock()
        try:
            all_of_it = self._a_day_has_passed("selected", now)
            since = now - (self._window.length if all_of_it else DAY)
            count = self._intake.look_for_selected(since)
            if all_of_it:
                self._ledger.set_note("selected", repr(now))
        except (CatalogError, LedgerError) as error:
            self._troubles.note_error(error)
            return
        if count:
            log.info("S3 sweep: %d file(s) queued that the filters select only now", count)

    def look_for_gone(self) -> None:
        """Looks again, in the whole window, for files that the ledger calls gone or lost."""
        try:
            self._intake.look_for_gone(self._clock() - self._window.length)
        except (CatalogError, LedgerError) as error:
            self._troubles.note_error(error)

    def _mend_clock(self, now: float) -> None:
        self._ledger.mend_clock(now, now + self._longest_pause)

    def _hold(self, now: float) -> None:
        self._intake.hold()

    def _compare(self, now: float) -> None:
        count = sum(self._intake.sweep(*span) for span in self._window.spans(now))
        self._window.swept(now)
        if count:
            log.info("S3 sweep: %d file(s) found and queued", count)

    def _look_for_changes(self, now: float) -> None:
        """Compares the subjects that ended in the last hour."""
        since = now - self._window.length
        recent = self._catalog.ended_since(now - HOUR, since, CHANGES_AT_ONCE)
        self._tell_changed(self._intake.look_for_changes(recent))

    @staticmethod
    def _tell_changed(changed: int) -> None:
        if changed:
            log.info("S3 sweep: %d file(s) queued again, because Frigate has changed them", changed)

    def _a_day_has_passed(self, note: str, now: float) -> bool:
        """Returns whether the time in this note is a day old, or in the future because the clock
        was set back."""
        last = float(self._ledger.note(note) or -math.inf)
        return not now - DAY < last <= now
