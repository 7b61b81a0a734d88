"""The schedules of the recording backfill, on disk: how often which camera has its turn."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from frigate_mirror.files import replacing
from frigate_mirror.restore.bodies import Interval
from frigate_mirror.restore.jobs import read

HOUR, DAY = 3_600.0, 86_400.0
RETRY = 600.0  # seconds after a scheduled job that did not end well

log = logging.getLogger("frigate_s3.backfill")


@dataclass(slots=True)
class Schedule:
    """The schedule of one camera. `next_at` is when the next job is due, in Unix seconds."""

    enabled: bool
    interval_hours: float
    retention_days: float
    next_at: float

    def is_due(self, now: float) -> bool:
        """Whether a job is due. If the next one is further away than the interval, the clock was
        set back, and it is due, too."""
        return self.enabled and not now < self.next_at <= now + self.interval_hours * HOUR

    @property
    def shown(self) -> dict[str, Any]:
        """What answers tell of it."""
        told = asdict(self)
        next_at = told.pop("next_at")
        return told | {"next_run_at": next_at if self.enabled else None}


class Schedules:
    """The schedules in the file `path`. Any thread may call its methods. Raises OSError."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._of: dict[str, Schedule] = {}
        try:
            for camera, kept in (read(path) or {}).items():
                self._of[camera] = Schedule(**kept)
        except TypeError as error:
            log.warning("backfill: the schedules in %s cannot be read: %s", path, error)

    def of(self, camera: str) -> Schedule | None:
        with self._lock:
            return self._of.get(camera)

    def put(self, camera: str, interval: Interval) -> Schedule:
        """Sets the schedule of a camera. The first job is due at once. Raises OSError, and then
        nothing has changed."""
        now = self._clock()
        with self._lock:
            old = self._of.get(camera)
            latest = now + interval.interval_hours * HOUR
            next_at = min(old.next_at, latest) if old and old.enabled else now
            made = Schedule(
                interval.enabled, interval.interval_hours, interval.retention_days, next_at
            )
            self._change({**self._of, camera: made})
            return made

    def remove(self, camera: str) -> bool:
        """Removes the schedule of a camera; returns whether there was one. Raises OSError, and then
        nothing has changed."""
        with self._lock:
            if camera not in self._of:
                return False
            self._change({name: one for name, one in self._of.items() if name != camera})
            return True

    def due(self) -> list[tuple[str, Schedule]]:
        """Returns the cameras whose turn it is, the one that waits longest first."""
        now = self._clock()
        with self._lock:
            due = [(camera, one) for camera, one in self._of.items() if one.is_due(now)]
        return sorted(due, key=lambda pair: pair[1].next_at)

    def settle(self, camera: str, success: bool) -> None:
        """Notes how a scheduled job ended, and when the next one is due."""
        with self._lock:
            one = self._of.get(camera)
            if one is None:  # it was removed meanwhile
                return
            pause = one.interval_hours * HOUR
            one.next_at = self._clock() + (pause if success else min(pause, RETRY))
            try:
                self._save(self._of)
            except OSError as error:
                log.warning("backfill: the schedules cannot be written: %s", error)

    def _change(self, of: dict[str, Schedule]) -> None:
        self._save(of)
        self._of = of

    def _save(self, of: dict[str, Schedule]) -> None:
        with replacing(self._path) as file:
            file.write(json.dumps({camera: asdict(one) for camera, one in of.items()}).encode())
