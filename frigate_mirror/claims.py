"""Claims: which artifacts of the queue this process is uploading. They are in its memory only, so
that a crash leaves none behind."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from frigate_mirror.entries import Entry, Priority, row_of
from frigate_mirror.schema import ADD, NEWEST_DUE, OLDEST_DUE, SOONEST
from frigate_mirror.store import Store

AHEAD = 16  # rows of the queue that one read fetches: it costs as much as reading one
Found = Entry | tuple[Any, ...]
"""An entry that was queued just now, or a row of the queue."""


class Next(NamedTuple):
    """One of the next to be claimed, due from `due` on."""

    priority: int
    due: float
    id: str
    found: Found


class Claims:
    """Over the table in `store`, whose `turn` is taken for everything here."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._claimed: set[str] = set()
        self._ahead: deque[Next] = deque()

    def __len__(self) -> int:
        return len(self._claimed)

    @property
    def ahead(self) -> bool:
        """Whether a row is fetched that nobody has claimed."""
        return bool(self._ahead)

    def next(self, now: float, last: Priority) -> Found | None:
        """Claim the next row of the queue; see `Ledger.claim`."""
        with self._store.turn:
            if not self._ahead or self._ahead[0].priority > last or self._ahead[0].due > now:
                self._ahead = self._due(now, last)
            if not self._ahead:
                return None
            one = self._ahead.popleft()
            self._claimed.add(one.id)
            return one.found

    def _due(self, now: float, last: Priority) -> deque[Next]:
        for priority in range(Priority.LIVE, last + 1):
            query = NEWEST_DUE if priority == Priority.LIVE else OLDEST_DUE
            rows = self._store.rows(query, (priority, now, len(self._claimed) + AHEAD))
            free = (row for row in rows if row[0] not in self._claimed)
            if found := deque(Next(priority, -math.inf, row[0], row) for row in free):
                return found
        return deque()

    def queue(self, entry: Entry) -> bool:
        """Add its row; False if there is one. A live one is the next, and is not read again."""
        row = (*row_of(entry.artifact), entry.priority, entry.added)
        with self._store.turn:
            if not self._store.changed(ADD, row):
                return False
            if entry.priority != Priority.LIVE or len(self._ahead) >= AHEAD:  # an outage is long
                self._ahead.clear()
            if entry.priority == Priority.LIVE and entry.artifact.id not in self._claimed:
                one = Next(Priority.LIVE, entry.added, entry.artifact.id, entry)
                self._ahead.appendleft(one)
            return True

    def reorder(self) -> None:
        """Another row may be the next by now."""
        with self._store.turn:
            self._ahead.clear()

    def drop(self, artifact_ids: Iterable[str]) -> None:
        with self._store.turn:
            self._claimed.difference_update(artifact_ids)

    def soonest(self) -> float | None:
        """When the next row that nobody has claimed is due, None if there is none."""
        found: list[float] = []
        with self._store.turn:
            for priority in Priority:
                rows = self._store.rows(SOONEST, (priority, len(self._claimed) + 1))
                found += [due for one, due in rows if one not in self._claimed][:1]
        return min(found, default=None)
