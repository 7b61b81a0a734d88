"""The spans of time that the sweep compares: the owner's window, and times at which the clock was
wrong.

A machine without a clock battery starts in 1970 or at some other past time, until its clock is set.
Events from before that have start times outside the window. So if the last sweep was earlier than
the window, the sweep also compares the day before and the day after that last sweep.
"""

from __future__ import annotations

import json
import math

from frigate_mirror.ledger.ledger import Ledger

AROUND = 86_400.0  # seconds before and after the last sweep
MOST = 10  # spans that are remembered
Span = tuple[float, float]


class Window:
    """The window of the last `length` seconds. Its methods raise LedgerError."""

    def __init__(self, ledger: Ledger, length: float) -> None:
        self._ledger = ledger
        self.length = length

    def spans(self, now: float) -> list[Span]:
        """Returns what to sweep now, as (since, until) in Unix seconds."""
        since = now - self.length
        left = self._left_behind(now)
        last = float(self._ledger.note("swept") or now)
        if last < since and not any(start <= last < end for start, end, _ in left):
            self._ledger.keep_dead(last - AROUND, last + AROUND, now)
            left = [*left, (last - AROUND, last + AROUND, now + self.length)][-MOST:]
            self._ledger.set_note("left behind", json.dumps(left))
        return [*((start, min(end, since)) for start, end, _ in left), (since, math.inf)]

    def swept(self, now: float) -> None:
        """Notes that all spans were compared."""
        self._ledger.set_note("swept", repr(now))

    def _left_behind(self, now: float) -> list[tuple[float, float, float]]:
        """Returns the remembered spans as (since, until, when to forget it)."""
        spans: list[tuple[float, float, float]]
        spans = [tuple(span) for span in json.loads(self._ledger.note("left behind") or "[]")]
        return [span for span in spans if now <= span[2] <= now + self.length]
