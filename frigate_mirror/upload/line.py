"""The line to the service: a bulk upload gives way on it to live ones, and keeps to the bandwidth.

Both share the owner's line. A clip takes minutes on it, and a live picture must not wait for that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from frigate_mirror.upload.bandwidth import Bandwidth

LONGEST_PAUSE = 5.0
"""Seconds for which a bulk upload waits in one go. A service closes a connection that is silent for
longer, 20 seconds in the case of AWS."""


class Line:
    """Knows which live uploads are under way."""

    def __init__(self, bandwidth: Bandwidth, sleep: Callable[[float], None] = time.sleep) -> None:
        self._bandwidth = bandwidth
        self._sleep = sleep
        self._live = 0
        self._changed = threading.Condition()

    @contextmanager
    def live(self) -> Iterator[None]:
        """Within this context a live upload is under way."""
        with self._changed:
            self._live += 1
        try:
            yield
        finally:
            with self._changed:
                self._live -= 1
                self._changed.notify_all()

    def give_way(self, size: int) -> None:
        """Waits until no live upload is under way and the bandwidth allows the next `size` bytes,
        but never longer than LONGEST_PAUSE."""
        until = time.monotonic() + LONGEST_PAUSE
        with self._changed:
            self._changed.wait_for(lambda: self._live == 0, LONGEST_PAUSE)
        pause = min(self._bandwidth.pause(), until - time.monotonic())
        if pause > 0:
            self._sleep(pause)
        self._bandwidth.send(size)


class Yielding:
    """A file whose bytes give way on the line when they are sent. See `sinks.body.Body`."""

    def __init__(self, file: BinaryIO, line: Line) -> None:
        self._file = file
        self.read = file.read
        self.seek = file.seek
        self.tell = file.tell
        self.fileno = file.fileno
        self.before_send = line.give_way
