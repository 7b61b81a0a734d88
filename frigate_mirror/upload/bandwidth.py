"""Bandwidth: how many bytes a second the uploads may send, by the hours of the owner's day.

Live artifacts are exempt from the limit.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from frigate_mirror.part import Part, Task
from frigate_mirror.settings.parse import Timetable
from frigate_mirror.sinks.sink import SinkError

LOOK_EVERY = 5.0  # seconds


def minute_of_the_day() -> int:
    now = time.localtime()
    return now.tm_hour * 60 + now.tm_min


class Bandwidth:
    """A limit that is kept between objects: each object goes out at full speed, and a pause after
    it makes up for that. `clock` gives monotonic seconds, `minute` the minute of the owner's
    day."""

    def __init__(
        self,
        limits: Timetable,
        clock: Callable[[], float] = time.monotonic,
        minute: Callable[[], int] = minute_of_the_day,
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
        return limit_at(self._limits, self._minute())


def limit_at(limits: Timetable, minute: int) -> float:
    """Returns the limit at this minute of the day, in bytes a second."""
    past = [limit for since, limit in limits if since <= minute]
    return past[-1] if past else limits[-1][1]  # yesterday's last entry still applies


class Throttle(Part):
    """Tells a sink that limits its uploads itself how many bytes a second it may send."""

    def __init__(
        self,
        limit: Callable[[float], None],
        limits: Timetable,
        minute: Callable[[], int] = minute_of_the_day,
    ) -> None:
        self._limit = limit
        self._limits = limits
        self._minute = minute
        self._told = math.inf
        self._trouble = ""

    def tasks(self) -> list[Task]:
        return [Task("throttle", LOOK_EVERY, self.tell)]

    def tell(self) -> None:
        """Tells the limit if it has changed."""
        wanted = limit_at(self._limits, self._minute())
        if wanted == self._told:
            return
        try:
            self._limit(wanted)
        except SinkError as error:
            self._trouble = f"the bandwidth limit does not hold: {error.args[0]}"
        else:
            self._told, self._trouble = wanted, ""

    def troubles(self) -> list[str]:
        return [self._trouble] if self._trouble else []
