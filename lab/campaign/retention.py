"""Frigate's retention: it deletes pictures, and rows, a short while after their events.

Nothing can save what is deleted before anybody could have seen it. So an event has to have had a
fair chance first: for FAIR seconds one and the same mirror that had said that it started was
neither dead nor stopped, while the event's row and picture lay there. Time in which its threads
were ready to run and got no CPU does not count. FAIR is more than two of the shortened sweeps, so
what the hook did not tell, a sweep could see. After that chance whatever happens to the picture is
no excuse; until then the campaign keeps it, so that every committed event is owed.
"""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Protocol

from lab.campaign.events import Event
from tests.rig import processes

FAIR = 2.5
LOOK_EVERY = 0.1
LONGEST_KEPT = 2.0  # seconds beyond the fair chance


class Frigate(Protocol):
    """What retention looks at and deletes from. `mirror` is the mirror's process id, 0 while there
    is none; `starts_told` is how often a mirror has said that it started."""

    events: dict[str, Event]
    clips: Path
    database: Path

    @property
    def mirror(self) -> int: ...

    def starts_told(self) -> int: ...


class Retention(threading.Thread):
    """Takes a `share` of the pictures, 0 to 1, and with `rows_too` their rows too.

    It is `paused` while a fault keeps the mirror from reading pictures at all: nobody could save
    them then."""

    def __init__(
        self, frigate: Frigate, rng: random.Random, share: float, *, rows_too: bool
    ) -> None:
        super().__init__(name="retention", daemon=True)
        self._frigate = frigate
        self._rng = rng
        self.share = share
        self.rows_too = rows_too
        self._stopped = threading.Event()
        self._chances: dict[str, float] = {}
        self._mirror = (0, 0.0, 0.0)
        self._starts = self._starts_before = 0
        self.paused = False
        self.deleted = 0

    def stop(self) -> None:
        self._stopped.set()
        self.join(10)

    def run(self) -> None:
        while not self._stopped.wait(LOOK_EVERY):
            gained = self._chance()
            gained = 0.0 if self.paused else gained
            for event in list(self._frigate.events.values()):
                if event.committed and not event.kept:
                    self._look_at(event, gained)

    def _chance(self) -> float:
        """Seconds since the last look in which a mirror was at work. A new mirror, or one that
        was stopped, begins anew for every event."""
        pid = self._frigate.mirror
        now, waited = time.monotonic(), processes.waited(pid) if pid else 0.0
        (known, then, waited_then), self._mirror = self._mirror, (pid, now, waited)
        starts = self._frigate.starts_told()
        if pid != known:
            self._chances = dict.fromkeys(self._chances, 0.0)
            # Where there was no mirror at the last look, whoever has said since that it started is
            # this one. Else it may have been the one before.
            self._starts = starts if known else self._starts_before
        self._starts_before = starts
        if pid != known:  # nobody knows since when it has been there
            return 0.0
        if not pid or starts <= self._starts or processes.state(pid) == "T":
            return 0.0
        return max(0.0, now - then - max(0.0, waited - waited_then))

    def _look_at(self, event: Event, gained: float) -> None:
        if event.id not in self._chances:
            # Some stay for good; the others go at a time of their own.
            stays = self._rng.random() > self.share
            self._chances[event.id] = 0.0
            event.goes_after = 1e9 if stays else FAIR + self._rng.uniform(0, LONGEST_KEPT)
        self._chances[event.id] += gained
        if self._chances[event.id] > event.goes_after:
            with suppress(sqlite3.Error):  # a fault has the database just now: next time
                self._take(event)
                event.goes_after = 1e9

    def _take(self, event: Event) -> None:
        """The row first, as Frigate's own cleanup does not care which comes first either. What is
        no file stays where it lies."""
        if self.rows_too:
            name = f"file:{self._frigate.database}?mode=rw"
            with closing(sqlite3.connect(name, uri=True, timeout=20)) as database, database:
                database.execute("DELETE FROM event WHERE id = ?", (event.id,))
        for file in event.files:
            with suppress(FileNotFoundError, IsADirectoryError):
                (self._frigate.clips / file).unlink()
        self.deleted += 1
