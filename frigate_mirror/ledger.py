"""Ledger: journal, queue and dead letters in one SQLite table. The only SQL about our own state.

    waiting ──> pending ──> uploaded
       │           ├──────> failed     a dead letter, until `revive`
       └──> gone <─┘                   no file (any more), until `look_again`

What is being uploaded stays `pending`; only this process's memory knows that it is claimed. So a
crash needs no repair. One process claims at a time (see `store.RunLock`); others may add and
revive beside it.

Durability: WAL with synchronous=NORMAL. A power cut can undo the last commits; that costs a
repeated upload of the same bytes to the same key, or the sweep adds a row again. Never a loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from frigate_mirror import schema
from frigate_mirror.artifacts import Artifact
from frigate_mirror.claims import Claims
from frigate_mirror.entries import (
    Counts,
    Entry,
    Priority,
    Settled,
    counts_of,
    entry_of,
    row_of,
    settled_of,
)
from frigate_mirror.store import LedgerError, Store

__all__ = ["Ledger", "LedgerError"]
T = TypeVar("T")


class Ledger:
    """The table in `path`. Safe to use from several threads; they take turns."""

    def __init__(self, path: Path) -> None:
        """Open or make the ledger. Raises LedgerError, or LedgerDamaged for a file that is none."""
        self._store = Store(path, schema.DDL, schema.VERSION, schema.MADE)
        self._claims = Claims(self._store)
        self._counted: tuple[object, Counts] = (None, Counts())

    @property
    def damaged(self) -> bool:
        """Whether SQLite found the file damaged: it must be put aside."""
        return self._store.damaged

    def close(self) -> None:
        self._store.close()

    def check(self) -> None:
        """Read all of it, which takes seconds for a million rows and holds nobody up. Raises
        LedgerDamaged for whatever does not fit together."""
        self._store.check()

    def add(self, artifact: Artifact, priority: Priority, now: float) -> bool:
        """Queue an artifact, due at once; False if it is known already, unless it was waiting for
        its file or had none."""
        return self._claims.queue(Entry(artifact, priority, 0, 0, now))

    def _requeue(self, statement: str, values: tuple[object, ...]) -> int:
        """A change of the queue, after which another may be the next in it."""
        try:
            return self._store.change(statement, values)
        finally:
            self._claims.reorder()

    def wait(self, one: str, camera: str, started: float, due: float, looks: int = 1) -> None:
        """Remember an event whose file is not there after so many looks: the next is at `due`."""
        self._store.change(
            """INSERT INTO artifact (id, camera, started, state, priority, due, added, attempts)
               VALUES (?, ?, ?, 'waiting', 0, ?4, ?4, ?5)
               ON CONFLICT (id) DO UPDATE SET due = excluded.due, attempts = excluded.attempts
               WHERE state = 'waiting'""",
            (one, camera, started, due, looks),
        )

    def look_again(self, since: float, now: float, looks: int) -> int:
        """Wait once more for the files of events that started from `since` on and were given up,
        as if after so many looks: a disk may have been away. Returns for how many."""
        return self._store.change(
            """UPDATE artifact SET state = 'waiting', due = ?, attempts = ?, settled = NULL
               WHERE state = 'gone' AND started >= ?""",
            (now, looks, since),
        )

    def add_settled(self, rows: Iterable[tuple[str, str, str, float, float, str]]) -> int:
        """Take over artifacts settled in an earlier life, as (id, camera, key, started, settled,
        state); those known already stay as they are. Returns how many came in."""
        total, source = 0, iter(rows)
        # In pages, gathered outside the transaction: a bucket's listing may take its time.
        while page := list(islice(source, 1000)):
            with self._store.writing() as sql:
                total += sql.executemany(
                    """INSERT OR IGNORE INTO artifact
                           (id, camera, key, started, settled, state, priority, due, added)
                       VALUES (?, ?, ?, ?, ?5, ?6, 2, ?5, ?5)""",
                    page,
                ).rowcount
        return total

    def take_over(self, artifacts: Iterable[Artifact], now: float) -> int:
        """Queue what a damaged ledger still had in its queue; returns how many were unknown."""
        with self._store.writing() as sql:
            rows = ((*row_of(one), Priority.BACKLOG, now) for one in artifacts)
            return sql.executemany(schema.ADD, rows).rowcount

    def unknown(self, artifact_ids: Collection[str]) -> list[str]:
        """Those of the ids that have no row, in their order."""
        # Ids begin with a time: those of one moment are neighbours, and many neighbours are read in
        # a third of the time that it takes to look for each.
        ends = (min(artifact_ids, default=""), max(artifact_ids, default=""))
        query = "SELECT id FROM artifact WHERE id BETWEEN ? AND ? LIMIT ?"
        near = {one for (one,) in self._store.select(query, (*ends, 2 * len(artifact_ids)))}
        return self._without_row([one for one in artifact_ids if one not in near])

    def _without_row(self, artifact_ids: list[str]) -> list[str]:
        if not artifact_ids:
            return []
        marks = ",".join("?" * len(artifact_ids))
        query = f"SELECT id FROM artifact WHERE id IN ({marks})"
        known = {one for (one,) in self._store.select(query, tuple(artifact_ids))}
        return [one for one in artifact_ids if one not in known]

    def claim(self, now: float, last: Priority = Priority.BACKLOG) -> Entry | None:
        """The next pending artifact that is due and that nobody else has claimed, none of a
        priority after `last`; or None. Live ones before retries before backlog; newest first among
        the live, so that after an outage what happens now does not wait behind what happened then.
        """
        found = self._claims.next(now, last)
        return found if found is None or isinstance(found, Entry) else self._read(entry_of, found)

    def _read(self, form: Callable[[Any], T], found: Any) -> T:
        """What was found, in that form; what makes no sense there is damage."""
        try:
            return form(found)
        except (TypeError, ValueError) as error:
            raise self._store.distrust(f"nonsense in it: {error}") from error

    @property
    def claimed(self) -> int:
        """How many artifacts are being uploaded, or uploaded and not settled yet."""
        return len(self._claims)

    @property
    def more(self) -> bool:
        """Whether more is known to be due, though maybe of a later priority."""
        return self._claims.ahead

    def next_due(self) -> float | None:
        """When the next pending artifact that nobody has claimed is due, None if there is none."""
        return self._claims.soonest()

    def settle(self, done: Collection[Settled]) -> None:
        """The bucket holds these: one commit for all. What only the queue needed is dropped."""
        with self._store.writing() as sql:
            sql.executemany(
                """UPDATE artifact SET state = 'uploaded', settled = ?, attempts = attempts + 1,
                       source = NULL, content_type = NULL, metadata = NULL, crc = NULL,
                       error = NULL
                   WHERE id = ?""",
                [(one.at, one.id) for one in done],
            )
        self._claims.drop(one.id for one in done)

    def defer(self, artifact_id: str, due: float, error: str, *, charged: bool) -> None:
        """Not this time: again at `due`, behind the live ones. `charged`: it cost a try."""
        change = """due = ?, error = ?, tries = tries + ?, attempts = attempts + 1,
                    priority = max(priority, 1)"""
        self._decide(artifact_id, "pending", change, due, error, int(charged))

    def bury(self, artifact_id: str, error: str, now: float) -> None:
        """Its tries are used up: a dead letter, until it is revived."""
        change = """state = 'failed', settled = ?, error = ?, tries = tries + 1,
                    attempts = attempts + 1"""
        self._decide(artifact_id, "pending", change, now, error)

    def give_up(self, artifact_id: str, error: str, now: float, was: str = "pending") -> None:
        """There is no file (any more): nothing that a try could change. `was` may be `waiting`."""
        self._decide(artifact_id, was, "state = 'gone', settled = ?, error = ?", now, error)

    def _decide(self, artifact_id: str, was: str, change: str, *values: object) -> None:
        """Of a row that is still as it was. It stays claimed until `release`."""
        statement = f"UPDATE artifact SET {change} WHERE id = ? AND state = ?"
        self._requeue(statement, (*values, artifact_id, was))

    def release(self, artifact_id: str) -> None:
        """Give a claimed artifact back as it was."""
        self._claims.drop([artifact_id])

    def revive(self, event_id: str = "", camera: str = "", now: float = 0.0) -> int:
        """Dead letters are due again, with all their tries: all, or of one event or camera. One
        that was taken over from a state file has to be looked for again."""
        return self._requeue(
            """UPDATE artifact SET due = ?1, tries = 0, attempts = 0, priority = 1, settled = NULL,
                   state = CASE WHEN source IS NULL THEN 'waiting' ELSE 'pending' END
               WHERE state = 'failed' AND ?3 IN ('', camera)
                   AND ?2 IN ('', substr(id, instr(id, ':') + 1))""",
            (now, event_id, camera),
        )

    def hasten(self, now: float) -> None:
        """The service is back: whatever it alone held up is due at once."""
        self._requeue(schema.HASTEN, (now,))

    def mend_clock(self, now: float, farthest: float) -> None:
        """What is due later than `farthest`, farther than any pause, or was never tried and is
        not due yet, met a clock that has been set back since: it is due at once."""
        self._requeue(schema.MEND_PENDING, (now, farthest))
        self._store.change(schema.MEND_WAITING, (now, farthest))

    def waiting(self, now: float, most: int) -> list[tuple[str, str, float, int]]:
        """Events still without their file that are due, as (id, camera, started, looks so far)."""
        return self._store.select(
            """SELECT id, camera, started, attempts FROM artifact INDEXED BY artifact_waiting
               WHERE state = 'waiting' AND due <= ? ORDER BY due LIMIT ?""",
            (now, most),
        )

    def pending(self, wanted: Callable[[str], bool], page: int = 1000) -> Iterator[Artifact]:
        """What is in the queue and `wanted(artifact id)`, read in pages."""
        place = (-math.inf, "")
        while True:
            rows = self._store.select(
                """SELECT added, id FROM artifact INDEXED BY artifact_added
                   WHERE state = 'pending' AND (added, id) > (?, ?) ORDER BY added, id LIMIT ?""",
                (*place, page),
            )
            for one in [one for _, one in rows if wanted(one)]:
                query = f"SELECT {schema.COLUMNS} FROM artifact WHERE id = ? AND state = 'pending'"
                for row in self._store.select(query, (one,)):
                    yield self._read(entry_of, row).artifact
            if len(rows) < page:
                return
            place = rows[-1]

    def counts(self) -> Counts:
        version = self._store.version()
        if version != self._counted[0]:  # a million rows take a tenth of a second
            query = "SELECT count(*) FROM artifact WHERE state = 'pending' AND priority = ?"
            [(retrying,)] = self._store.select(query, (Priority.RETRY,))
            self._counted = version, replace(self._count("1"), retrying=retrying)
        return self._counted[1]

    def _count(self, condition: str, *values: object) -> Counts:
        query = f"SELECT state, count(*) FROM artifact WHERE {condition} GROUP BY state"
        return self._read(counts_of, self._store.select(query, values))

    def oldest_pending(self) -> float | None:
        """When the artifact that has been pending for longest was added, None if none is."""
        oldest: float | None
        query = "SELECT min(added) FROM artifact INDEXED BY artifact_added WHERE state = 'pending'"
        [(oldest,)] = self._store.select(query)
        return oldest

    def between(self, since: float, until: float) -> Counts:
        """The counts of the artifacts of events that started in this span."""
        return self._count("started >= ? AND started < ?", since, until)

    def wants_file(self, artifact_id: str) -> bool:
        """Whether the artifact's file will be read again: it is pending, or a dead letter, or
        nobody can say."""
        rows = self._store.select("SELECT state FROM artifact WHERE id = ?", (artifact_id,))
        return bool(rows) and rows[0][0] not in ("waiting", "uploaded", "gone")

    def settled(self, state: str, page: int = 1000) -> Iterator[Settled]:
        """All rows of a settled state, oldest event first, read in pages."""
        place = (-math.inf, "")
        while True:
            rows = self._store.select(
                """SELECT settled, id, key, tries, error, started FROM artifact
                   WHERE state = ? AND (started, id) > (?, ?) ORDER BY started, id LIMIT ?""",
                (state, *place, page),
            )
            for row in rows:
                yield self._read(settled_of, row[:5])
            if len(rows) < page:
                return
            place = (rows[-1][5], rows[-1][1])

    def prune(self, before: float, failed_before: float) -> int:
        """Forget settled artifacts of events that started before `before`, dead letters before
        `failed_before`, a page at a time. What is not uploaded yet is never forgotten."""
        total = 0
        page = """DELETE FROM artifact WHERE id IN (SELECT id FROM artifact
                      WHERE (state IN ('uploaded', 'gone') AND started < ?)
                         OR (state = 'failed' AND started < ?) LIMIT 1000)"""
        while done := self._store.change(page, (before, failed_before)):
            total += done
        return total
