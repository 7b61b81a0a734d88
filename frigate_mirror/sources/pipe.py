"""The pipe from the hook in Frigate's process: one event id a line."""

from __future__ import annotations

import os
import select

END = b"\x04"  # the hook's last line
LONGEST_LINE = 4096  # bytes; an event id has about 24


class Pipe:
    """The reading end of the pipe, with the file descriptor `descriptor`. See `source.Source`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self._rest = b""
        self.ended = False
        """Whether the hook has written its last line, or has closed the pipe, and all of it was
        read."""

    @property
    def hung_up(self) -> bool:
        """Whether the hook has closed the pipe, whatever is still to be read."""
        events = self._poll.poll(0)
        return bool(events and events[0][1] & select.POLLHUP)

    def ids(self, timeout: float) -> list[str]:
        """See `Source.ids`."""
        if not self.ended and self._poll.poll(timeout * 1000):
            data = os.read(self._descriptor, 65536)
            *lines, self._rest = (self._rest + data).split(b"\n")
            self.ended = not data or END in lines
            if len(self._rest) > LONGEST_LINE:
                self._rest = b""
            return [line.decode("ascii", "replace") for line in lines if line and line != END]
        return []

    def settle(self, ids: list[str], taken: bool) -> None:
        """See `Source.settle`. The hook tells of an id once; the sweep finds what was not taken."""
