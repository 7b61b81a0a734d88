"""Survey: what the report says beyond the status, looked up now and then.

All of it is slow to find, or can hang: counts by camera read the whole ledger, and a remote may
take minutes to say how much room it has. So the survey has threads of its own, and whoever tells
the report takes the figures that were found last.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from frigate_mirror.faults import Troubles
from frigate_mirror.ledger.ledger import Ledger, LedgerError
from frigate_mirror.ledger.rows import Counts, Dead
from frigate_mirror.part import Part, Task
from frigate_mirror.report.status import Status
from frigate_mirror.sinks.sink import Roomy, SinkError

log = logging.getLogger("frigate_s3")
LOOK_EVERY = 5.0  # seconds
COUNT_EVERY = 10.0  # seconds at least between two counts by camera
SHARE = 100  # of the time, that these counts may take together: one of so many parts
ROOM_EVERY = 3_600.0  # seconds
ROOM_AGAIN = 600.0  # seconds after a failure
MOST_DEAD = 10
DAY_NOTE = "day"


@dataclass(frozen=True, slots=True)
class Figures:
    """What the survey found last. `cameras` says for each camera how many artifacts are in each
    state, `dead` are the newest dead letters. `bytes_today` were uploaded on `day`, a date such as
    2026-11-26, and `bytes` since the ledger was made. `spool_free` and `remote_free` are bytes.

    None means that a number is not known yet, or cannot be known. A counter that began at 0 after
    each start would make its readers add everything up once more."""

    cameras: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    dead: tuple[Dead, ...] = ()
    day: str = ""
    bytes_today: int | None = None
    bytes: int | None = None
    spool_free: int | None = None
    remote_free: int | None = None


class Survey(Part):
    """Looks into `ledger`, at the disk of the folder `spool`, and asks `sink` for its room if it
    knows that. `newest` returns the newest status. Days are those of `zone`. `clock` gives Unix
    seconds."""

    def __init__(
        self,
        newest: Callable[[], Status | None],
        ledger: Ledger,
        spool: Path,
        sink: object,
        zone: tzinfo,
        troubles: Troubles,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._newest = newest
        self._ledger = ledger
        self._spool = spool
        self._roomy = sink if isinstance(sink, Roomy) else None
        self._zone = zone
        self._troubles = troubles
        self._clock = clock
        self._turn = threading.Lock()
        self.found = Figures()
        self._counted: object = None  # the counts that the cameras belong to
        self._dead: object = None  # how many dead letters there were when they were read
        self._count_at = self._ask_at = 0.0  # on time.monotonic

    def tasks(self) -> list[Task]:
        return [
            Task("survey", LOOK_EVERY, self.look),
            *([Task("room", LOOK_EVERY, self.look_at_room)] if self._roomy else []),
        ]

    def look(self) -> None:
        """Looks at what is cheap, and at the rest if it has changed."""
        try:
            self._look_at_bytes()
            if status := self._newest():
                self._look_at_ledger(status.counts)
            self._troubles.note("survey", "")
        except LedgerError as error:
            self._troubles.note("survey", f"the figures of the report are old: {error}")
        try:
            self._note(spool_free=shutil.disk_usage(self._spool).free)
        except OSError:  # the spool itself tells the owner
            self._note(spool_free=None)

    def look_at_room(self) -> None:
        """Asks the destination how much room it has."""
        if self._roomy is None or time.monotonic() < self._ask_at:
            return
        try:
            self._note(remote_free=self._roomy.free())
            pause = ROOM_EVERY
        except SinkError as error:  # the checks tell the owner of an outage
            log.debug("S3 report: the room of the destination is unknown: %s", error)
            pause = ROOM_AGAIN
        self._ask_at = time.monotonic() + pause

    def _look_at_ledger(self, counts: Counts) -> None:
        dead = counts.failed, counts.lost, counts.flawed, counts.acknowledged
        if dead != self._dead:
            self._note(dead=tuple(self._ledger.newest_dead(MOST_DEAD)))
            self._dead = dead
        if counts is not self._counted and time.monotonic() >= self._count_at:
            began = time.monotonic()
            self._note(cameras=self._ledger.count_cameras())
            ended = time.monotonic()
            self._counted = counts
            self._count_at = ended + max(COUNT_EVERY, SHARE * (ended - began))

    def _look_at_bytes(self) -> None:
        """Computes the bytes of today as those of all time, less those at the beginning of the day.
        That number is noted, so a restart in the middle of a day loses nothing."""
        total, day = self._ledger.uploaded_bytes(), self._today()
        noted, _, before = self._ledger.note(DAY_NOTE).partition(" ")
        if noted != day or not before.isdecimal() or int(before) > total:
            seen = self.found.bytes  # what came after that belongs to the new day
            before = str(total if seen is None else seen)
            self._ledger.set_note(DAY_NOTE, f"{day} {before}")
        self._note(day=day, bytes=total, bytes_today=total - int(before))

    def _today(self) -> str:
        return datetime.fromtimestamp(self._clock(), self._zone).date().isoformat()

    def _note(self, **found: Any) -> None:
        # Two threads note what they have found, so neither may undo what the other one has.
        with self._turn:
            self.found = replace(self.found, **found)
