"""Frigate's retention: it deletes pictures, and rows, a short while after their events.

No mirror can save a picture that is deleted before it could see it. So each event has a fair chance
first: for FAIR seconds the same mirror has been started and was neither dead nor stopped, while the
event's row and picture were there. Time in which the mirror's threads were ready to run and got no
CPU does not count. FAIR is more than two of the shortened sweeps, so a sweep can find an event that
the hook did not announce. After that chance the mirror has no excuse. Until then retention keeps
the picture, so that every committed event is owed.
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
LONGEST_KEPT = 2.0  # seconds after the fair chance, at most


class Frigate(Protocol):
    """What retention needs of a Frigate. `mirror` is the mirror's process id, 0 while there is
    none. `starts_told` is how often a mirror has said that it started."""

    events: dict[str, Event]
    clips: Path
    database: Path

    @property
    def mirror(self) -> int: ...

    def starts_told(self) -> int: ...


class Retention(threading.Thread):
    """Deletes a `share` of the pictures, 0 to 1, and with `rows_too` their rows too. With `flags`
    it notes in the row that the event has no snapshot any more.

    It is `paused` while a fault prevents the mirror from reading any picture."""

    def __init__(
        self,
        frigate: Frigate,
        rng: random.Random,
        share: float,
        *,
        rows_too: bool,
        flags: bool = False,
    ) -> None:
        super().__init__(name="retention", daemon=True)
        self._frigate = frigate
        self._rng = rng
        self.share = share
        self.rows_too = rows_too
        self._flags = flags
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
        """The seconds since the last look in which a mirror worked. With a new mirror the chance of
        every event begins again."""
        pid = self._frigate.mirror
        now, waited = time.monotonic(), processes.waited(pid) if pid else 0.0
        (known, then, waited_then), self._mirror = self._mirror, (pid, now, waited)
        starts = self._frigate.starts_told()
        if pid != known:
            self._chances = dict.fromkeys(self._chances, 0.0)
            # If there was no mirror at the last look, this mirror has made every start that was
            # told since. Otherwise the mirror before it may have made it.
            self._starts = starts if known else self._starts_before
        self._starts_before = starts
        if pid != known:  # it may have started at any moment since the last look
            return 0.0
        if not pid or starts <= self._starts or processes.state(pid) == "T":
            return 0.0
        return max(0.0, now - then - max(0.0, waited - waited_then))

    def _look_at(self, event: Event, gained: float) -> None:
        if event.id not in self._chances:
            # Some pictures stay for ever. Each other one goes at a time of its own.
            stays = self._rng.random() > self.share
            self._chances[event.id] = 0.0
            event.goes_after = 1e9 if stays else FAIR + self._rng.uniform(0, LONGEST_KEPT)
        self._chances[event.id] += gained
        if self._chances[event.id] > event.goes_after:
            with suppress(sqlite3.Error):  # a fault holds the database; the next look tries again
                self._take(event)
                event.goes_after = 1e9

    def _take(self, event: Event) -> None:
        """Deletes the row first and then the files; Frigate's own cleanup has no fixed order. It
        leaves what is not a file."""
        if self.rows_too:
            self._execute("DELETE FROM event WHERE id = ?", event)
        elif self._flags:
            self._execute("UPDATE event SET has_snapshot = 0 WHERE id = ?", event)
        for file in event.files:
            with suppress(FileNotFoundError, IsADirectoryError):
                (self._frigate.clips / file).unlink()
        self.deleted += 1

    def _execute(self, statement: str, event: Event) -> None:
        name = f"file:{self._frigate.database}?mode=rw"
        with closing(sqlite3.connect(name, uri=True, timeout=20)) as database, database:
            database.execute(statement, (event.id,))
