"""Bandwidth: how many bytes a second the uploads may send, by the hours of the owner's day.

Live artifacts are exempt from the limit.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from frigate_mirror.settings.parse import Timetable


class Bandwidth:
    """A limit that is kept between objects: each object goes out at full speed, and a pause after
    it makes up for that. `clock` gives monotonic seconds, `minute` the minute of the owner's
    day."""

    def __init__(
        self,
        limits: Timetable,
        clock: Callable[[], float] = time.monotonic,
        minute: Callable[[], int] = lambda: time.localtime().tm_hour * 60 + time.localtime().tm_min,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._minute = minute
        self._unlimited = all(limit == math.inf for _, limit in limits)
        self._lock = threading.Lock()
        self._free_at = -math.inf

    def pause(self) -> float:
        """Returns the seconds until something that can wait may be sent."""
        return max(0.0, self._free_at - self._clock())

    def send(self, size: int) -> None:
        """Notes that so many bytes are sent now, whether or not they should have waited."""
        if self._unlimited:
            return
        with self._lock:
            now = self._clock()
            self._free_at = max(self._free_at, now) + size / self._limit()

    def _limit(self) -> float:
        minute = self._minute()
        past = [limit for since, limit in self._limits if since <= minute]
        return past[-1] if past else self._limits[-1][1]  # yesterday's last entry still applies
