"""Which spans of time the sweep compares: the window that the owner chose, and what a clock that
jumped ahead has left behind it.

A machine without a clock battery starts in 1970 or at some other time past. Events from before the
jump have start times that no window reaches; so where the last sweep lies before the window, its
neighbourhood is swept too.
"""

from __future__ import annotations

import json
import math

from frigate_mirror.ledger.ledger import Ledger

AROUND = 86_400.0  # seconds before and after a sweep that its neighbourhood has
MOST = 10  # spans that are remembered
Span = tuple[float, float]


class Window:
    """`length` is in seconds. Raises LedgerError."""

    def __init__(self, ledger: Ledger, length: float) -> None:
        self._ledger = ledger
        self._length = length

    def spans(self, now: float) -> list[Span]:
        """What to sweep now, as (since, until) in Unix seconds."""
        since = now - self._length
        left = self._left_behind(now)
        last = float(self._ledger.note("swept") or now)
        if last < since and not any(one <= last < until for one, until, _ in left):
            self._ledger.keep_dead(last - AROUND, last + AROUND, now)
            left = [*left, (last - AROUND, last + AROUND, now + self._length)][-MOST:]
            self._ledger.take_note("left behind", json.dumps(left))
        return [*((one, min(until, since)) for one, until, _ in left), (since, math.inf)]

    def swept(self, now: float) -> None:
        """All of it was compared."""
        self._ledger.take_note("swept", repr(now))

    def _left_behind(self, now: float) -> list[tuple[float, float, float]]:
        """Spans as (since, until, when to forget it)."""
        found: list[tuple[float, float, float]]
        found = [tuple(one) for one in json.loads(self._ledger.note("left behind") or "[]")]
        return [one for one in found if now <= one[2] <= now + self._length]
