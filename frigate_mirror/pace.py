"""Pace: how much of the machine and of the line the uploads may take.

Bandwidth   the owner's bound in bytes a second, by the hours of the day; live events pass it
Width       how many of the threads work: as many as the wait for answers leaves room for
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

Timetable = tuple[tuple[int, float], ...]
"""From which minute of the day on how many bytes a second: in order, infinity for no bound. What
holds before the first is what the last says."""


class Bandwidth:
    """A bound that is kept between objects: each is sent at the line's own speed, and paid for
    with a pause. `clock` gives monotonic seconds; `minute` the minute of the owner's day."""

    def __init__(
        self,
        limits: Timetable,
        clock: Callable[[], float] = time.monotonic,
        minute: Callable[[], int] = lambda: time.localtime().tm_hour * 60 + time.localtime().tm_min,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._minute = minute
        self._free = all(limit == math.inf for _, limit in limits)
        self._lock = threading.Lock()
        self._paid_at = -math.inf

    def pause(self) -> float:
        """Seconds until something that can wait may be sent."""
        return max(0.0, self._paid_at - self._clock())

    def send(self, size: int) -> None:
        """So many bytes are sent now, whether or not they should have waited."""
        if self._free:  # to know the minute takes longer than all else here
            return
        with self._lock:
            now = self._clock()
            self._paid_at = max(self._paid_at, now) + size / self._limit()

    def _limit(self) -> float:
        minute = self._minute()
        past = [limit for since, limit in self._limits if since <= minute]
        return past[-1] if past else self._limits[-1][1]


A_LONG_WAIT = 16  # times what the threads at work can do in it


class Width:
    """At most `most`. More threads than it takes to fill the waits for answers only fight over the
    interpreter's lock: where the bucket is near, 8 cost up to a third more CPU than 2."""

    LOOKS = 32  # uploads between two decisions

    def __init__(self, most: int) -> None:
        self.now = most  # until something is known
        self._most = most
        self._changed = threading.Condition()
        self._begin()

    def _begin(self) -> None:
        self._looks, self._cpu, self._shortest = 0, 0.0, math.inf

    def takes(self, number: int, wait: float) -> bool:
        """Whether thread `number` is to work. If not, the answer comes when that has changed, or
        after `wait` seconds."""
        with self._changed:
            return number < self.now or (self._changed.wait(wait) and number < self.now)

    def release(self) -> None:
        """Let nobody wait any longer."""
        with self._changed:
            self._changed.notify_all()

    def learn(self, took: float, cpu: float) -> None:
        """One upload took so many seconds, of the clock and of this thread's CPU."""
        with self._changed:
            self._looks += 1
            self._cpu += cpu
            # The shortest, since the others have waited for the lock too.
            self._shortest = min(self._shortest, took)
            if self._looks < self.LOOKS and took < self.now * cpu * A_LONG_WAIT:
                return
            share = self._shortest * self._looks / max(self._cpu, 1e-6)
            self.now = max(min(2, self._most), min(self._most, math.ceil(share) + 1))
            self._begin()
            self._changed.notify_all()
