"""Ledger: journal, queue and dead letters in one SQLite table. The only SQL about our own state.

    waiting ──> pending ──> uploaded   pending again when its file changes
       │           ├──────> failed     refused for what it is: a dead letter, until `revive`
       │           └──────> lost       its file is gone before it was uploaded: a dead letter
       └──> gone                       there never was a file, until one appears

What is being uploaded stays `pending`; only this process's memory knows that it is claimed. So a
crash needs no repair. One process claims at a time (see `connection.RunLock`); others may add and
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

from frigate_mirror.artifact import Artifact
from frigate_mirror.ledger import schema
from frigate_mirror.ledger.connection import LedgerError, Store
from frigate_mirror.ledger.rows import (
    Counts,
    Entry,
    Priority,
    Settled,
    counts_of,
    entry_of,
    row_of,
    settled_of,
)

__all__ = ["Ledger", "LedgerError"]
T = TypeVar("T")
Row = tuple[str, str, str, float, float, str, int, str]
"""An artifact settled in an earlier life: id, camera, key, started, settled, state, size, error."""


class Ledger:
    """The table in `path`. Safe to use from several threads; they take turns."""

    def __init__(self, path: Path, *, alone: bool = True) -> None:
        """Open the ledger. `alone` says that no other process has it open, so that it may be made
        or brought up to date. Raises LedgerError, LedgerDamaged for a file that is none, and
        LedgerNewer."""
        self.path = path
        self._store = Store(path, alone=alone)
        self._claimed: set[str] = set()
        self._counted: tuple[object, Counts] = (None, Counts())

    @property
    def damaged(self) -> bool:
        """Whether SQLite found the file damaged: it must be put aside."""
        return self._store.damaged

    def close(self) -> None:
        self._store.close()

    def add(self, artifact: Artifact, priority: Priority, now: float) -> bool:
        """Queue an artifact, due at once; False if the ledger knows this version of it already,
        unless it was waiting for its file or had none."""
        row = (*row_of(artifact), priority, now)
        return self._store.change(schema.ADD, row) > 0

    def refuse(self, artifact_id: str, camera: str, started: float, error: str, now: float) -> None:
        """An event that no artifact can be made of: a dead letter from the start."""
        self._store.change(
            """INSERT INTO artifact (id, camera, started, state, priority, due, added, settled,
                                     error)
               VALUES (?, ?, ?, 'failed', 2, ?4, ?4, ?4, ?5) ON CONFLICT (id) DO UPDATE
               SET state = 'failed', settled = excluded.settled, error = excluded.error
               WHERE state IN ('waiting', 'gone')""",
            (artifact_id, camera, started, now, error),
        )

    def wait(
        self, artifact_id: str, camera: str, started: float, due: float, looks: int = 1
    ) -> None:
        """Remember an event whose file is not there, or not whole, after so many looks: the next
        is at `due`."""
        self._store.change(
            """INSERT INTO artifact (id, camera, started, state, priority, due, added, attempts)
               VALUES (?, ?, ?, 'waiting', 0, ?4, ?4, ?5)
               ON CONFLICT (id) DO UPDATE SET due = excluded.due, attempts = excluded.attempts
               WHERE state = 'waiting'""",
            (artifact_id, camera, started, due, looks),
        )

    def add_settled(self, rows: Iterable[Row]) -> int:
        """Take over artifacts settled in an earlier life; those known already stay as they are.
        Returns how many came in."""
        total, source = 0, iter(rows)
        # In pages, gathered outside the transaction: a bucket's listing may take its time.
        while page := list(islice(source, 1000)):
            with self._store.writing() as sql:
                total += sql.executemany(
                    """INSERT OR IGNORE INTO artifact
                           (id, camera, key, started, settled, state, size, error,
                            priority, due, added)
                       VALUES (?, ?, ?, ?, ?5, ?6, ?7, ?8, 2, ?5, ?5)""",
                    page,
                ).rowcount
        return total

    def take_over(self, other: Path) -> int:
        """Take over all that another ledger of this version knows, in one transaction; returns how
        many of it is still to be uploaded. Where both know an artifact, the later of the two rows
        wins: the picture may have changed, or vanished from the bucket, since the earlier one."""
        with self._store.attached(other) as sql:
            sql.execute("BEGIN IMMEDIATE")
            sql.execute(f"DELETE FROM artifact WHERE id IN ({schema.OUTDATED})")
            [(pending,)] = sql.execute(
                """SELECT count(*) FROM other.artifact AS theirs
                   WHERE state IN ('pending', 'waiting')
                     AND NOT EXISTS (SELECT 1 FROM artifact WHERE id = theirs.id)"""
            ).fetchall()
            sql.execute(schema.TAKE_OVER)
            sql.execute("COMMIT")
        return int(pending)

    def make_durable(self) -> None:
        """Return when all commits so far would survive a power cut."""
        self._store.select("PRAGMA wal_checkpoint(TRUNCATE)")

    def unknown(self, artifact_ids: Collection[str]) -> list[str]:
        """Those of the ids that have no row, in their order."""
        # Ids begin with a time: those of one moment are neighbours, and many neighbours are read in
        # a third of the time that it takes to look for each.
        ends = (min(artifact_ids, default=""), max(artifact_ids, default=""))
        query = "SELECT id FROM artifact WHERE id BETWEEN ? AND ? LIMIT ?"
        near = {one for (one,) in self._store.select(query, (*ends, 2 * len(artifact_ids)))}
        return self._without_row([one for one in artifact_ids if one not in near])

    def _without_row(self, artifact_ids: list[str]) -> list[str]:
        known = {one for (one,) in self._of("id", artifact_ids)}
        return [one for one in artifact_ids if one not in known]

    def versions(self, artifact_ids: Collection[str]) -> dict[str, str]:
        """The version that was uploaded last, for those of the ids that are uploaded; for one that
        was uploaded before versions were kept an empty text."""
        rows = self._of("id, version, state", list(artifact_ids))
        return {one: version or "" for one, version, state in rows if state == "uploaded"}

    def recognise(self, artifacts: Iterable[Artifact]) -> None:
        """Each of these may be what was uploaded before versions were kept: it is, unless its size
        says otherwise."""
        with self._store.writing() as sql:
            sql.executemany(
                """UPDATE artifact SET version = ?1, size = ?2
                   WHERE id = ?3 AND state = 'uploaded' AND version IS NULL AND size IN (0, ?2)""",
                [(one.version, one.size, one.id) for one in artifacts],
            )

    def _of(self, columns: str, artifact_ids: list[str]) -> list[Any]:
        found: list[Any] = []
        for at in range(0, len(artifact_ids), 500):
            some = tuple(artifact_ids[at : at + 500])
            marks = ",".join("?" * len(some))
            query = f"SELECT {columns} FROM artifact WHERE id IN ({marks})"
            found += self._store.select(query, some)
        return found

    def claim(self, now: float, last: Priority = Priority.BACKLOG) -> Entry | None:
        """The next pending artifact that is due and that nobody else has claimed, none of a
        priority after `last`; or None. Live ones before retries before backlog; newest first among
        the live, so that after an outage what happens now does not wait behind what happened then.
        """
        with self._store.turn:
            for priority in range(Priority.LIVE, last + 1):
                query = schema.NEWEST_DUE if priority == Priority.LIVE else schema.OLDEST_DUE
                for (artifact_id,) in self._store.cursor(query, (priority, now)):
                    if artifact_id not in self._claimed:
                        return self._claim(artifact_id)
        return None

    def _claim(self, artifact_id: str) -> Entry:
        """The caller holds the store's turn."""
        query = f"SELECT {schema.COLUMNS} FROM artifact WHERE id = ?"
        [row] = self._store.rows(query, (artifact_id,))
        entry = self._read(entry_of, row)
        self._claimed.add(artifact_id)
        return entry

    def _read(self, form: Callable[[Any], T], found: Any) -> T:
        """What was found, in that form; what makes no sense there is damage."""
        try:
            return form(found)
        except (TypeError, ValueError) as error:
            raise self._store.distrust(f"nonsense in it: {error}") from error

    @property
    def claimed(self) -> int:
        """How many artifacts are being uploaded, or uploaded and not settled yet."""
        return len(self._claimed)

    def next_due(self) -> float | None:
        """When the next pending artifact that nobody has claimed is due, None if there is none."""
        found: list[float] = []
        with self._store.turn:
            for priority in Priority:
                rows = self._store.cursor(schema.SOONEST, (priority,))
                free = (due for one, due in rows if one not in self._claimed)
                found += islice(free, 1)
        return min(found, default=None)

    def settle(self, done: Collection[Settled]) -> set[str]:
        """The bucket holds these: one commit for all. What only the queue needed is dropped. A row
        that was queued again in a newer version meanwhile stays in the queue; returns the ids of
        those."""
        with self._store.writing() as sql:
            sql.executemany(
                """UPDATE artifact SET settled = ?1, attempts = attempts + 1, error = NULL,
                       size = CASE WHEN ?4 > 0 AND (version IS NULL OR version = ?3) THEN ?4
                                   ELSE size END,
                       state = CASE WHEN version IS NULL OR version = ?3 THEN 'uploaded'
                                    ELSE state END
                   WHERE id = ?2""",
                [(one.at, one.id, one.version, one.size) for one in done],
            )
            sql.executemany(
                """UPDATE artifact SET source = NULL, content_type = NULL, metadata = NULL
                   WHERE id = ? AND state = 'uploaded'""",
                [(one.id,) for one in done],
            )
        ids = [one.id for one in done]
        self._drop(ids)
        return {one for one, state in self._of("id, state", ids) if state == "pending"}

    def defer(self, artifact_id: str, due: float, error: str, *, charged: bool) -> None:
        """Not this time: again at `due`, behind the live ones. `charged`: it cost a try."""
        change = """due = ?, error = ?, tries = tries + ?, attempts = attempts + 1,
                    priority = max(priority, 1)"""
        self._decide(artifact_id, "pending", change, due, error, int(charged))

    def bury(self, artifact_id: str, error: str, now: float) -> None:
        """Its tries are used up: a dead letter, until it is revived."""
        change = """state = 'failed', settled = ?, error = ?, tries = tries + 1,
                    attempts = attempts + 1, acknowledged = 0"""
        self._decide(artifact_id, "pending", change, now, error)

    def lose(self, artifact_id: str, error: str, now: float) -> None:
        """Its file is gone before it was uploaded: a dead letter. One of which an earlier version
        is in the bucket counts as uploaded again, but as flawed, and it is no longer known in which
        version and size."""
        change = """state = CASE WHEN settled IS NULL THEN 'lost' ELSE 'uploaded' END,
                    error = CASE WHEN settled IS NULL THEN ?2 END,
                    flaw = CASE WHEN settled IS NULL THEN flaw
                                ELSE 'only an earlier version is in the bucket: ' || ?2 END,
                    version = CASE WHEN settled IS NULL THEN version ELSE '' END,
                    size = CASE WHEN settled IS NULL THEN size ELSE 0 END,
                    settled = ifnull(settled, ?1), acknowledged = 0"""
        statement = f"UPDATE artifact SET {change} WHERE id = ?3 AND state = 'pending'"
        self._store.change(statement, (now, error, artifact_id))

    def give_up(self, artifact_id: str, error: str, now: float, *, lost: bool = False) -> None:
        """There is no file. There never was one, unless the row was a dead letter before, or `lost`
        says that nobody can tell: then it is a dead letter."""
        change = """state = CASE WHEN error IS NULL AND NOT ? THEN 'gone' ELSE 'lost' END,
                    settled = ?, error = ?"""
        self._decide(artifact_id, "waiting", change, lost, now, error)

    def _decide(self, artifact_id: str, was: str, change: str, *values: object) -> None:
        """Change a row that is still in the state `was`. It stays claimed until `release`."""
        statement = f"UPDATE artifact SET {change} WHERE id = ? AND state = ?"
        self._store.change(statement, (*values, artifact_id, was))

    def release(self, artifact_id: str) -> None:
        """Give a claimed artifact back as it was."""
        self._drop([artifact_id])

    def _drop(self, artifact_ids: Iterable[str]) -> None:
        with self._store.turn:
            self._claimed.difference_update(artifact_ids)

    def revive(self, event_id: str = "", camera: str = "", now: float = 0.0) -> int:
        """Dead letters are due again, with all their tries: all, or of one event or camera. One
        that was taken over from a state file has to be looked for again."""
        return self._store.change(
            f"""UPDATE artifact SET due = ?1, tries = 0, attempts = 0, priority = 1,
                   settled = NULL, acknowledged = 0,
                   state = CASE WHEN source IS NULL THEN 'waiting' ELSE 'pending' END
               WHERE state IN ('failed', 'lost') AND {_CHOSEN}""",
            (now, event_id, camera),
        )

    def acknowledge(self, event_id: str = "", camera: str = "") -> int:
        """The owner knows of these dead letters and flawed pictures: they no longer count. All, or
        of one event or camera."""
        return self._store.change(
            f"""UPDATE artifact SET acknowledged = 1 WHERE id IN (SELECT id FROM {schema.DEAD})
               AND acknowledged != ?1 AND {_CHOSEN}""",
            (1, event_id, camera),
        )

    def vanished(self, artifact_ids: Iterable[str], error: str, now: float) -> int:
        """These are uploaded, but the bucket does not hold them any more."""
        with self._store.writing() as sql:
            return sql.executemany(
                """UPDATE artifact SET state = 'lost', settled = ?, error = ?, acknowledged = 0
                   WHERE id = ? AND state = 'uploaded'""",
                [(now, error, one) for one in artifact_ids],
            ).rowcount

    def hasten(self, now: float) -> None:
        """The service is back: whatever it alone held up is due at once."""
        self._store.change(schema.HASTEN, (now,))

    def mend_clock(self, now: float, farthest: float) -> None:
        """What is due later than `farthest`, farther than any pause, or was never tried and is
        not due yet, met a clock that has been set back since: it is due at once."""
        self._store.change(schema.MEND_PENDING, (now, farthest))
        self._store.change(schema.MEND_WAITING, (now, farthest))

    def waiting(self, now: float, most: int) -> list[tuple[str, str, float, int]]:
        """Events still without their file that are due, as (id, camera, started, looks so far)."""
        return self._store.select(
            """SELECT id, camera, started, attempts FROM artifact INDEXED BY artifact_waiting
               WHERE state = 'waiting' AND due <= ? ORDER BY due LIMIT ?""",
            (now, most),
        )

    def without_file(self, since: float, page: int = 1000) -> Iterator[list[str]]:
        """Ids of the artifacts of events from `since` on that had no file, in lists: one may have
        appeared since, as when a disk was away."""
        place = ""
        while rows := self._store.select(
            """SELECT id FROM artifact WHERE state IN ('gone', 'lost') AND started >= ? AND id > ?
               ORDER BY id LIMIT ?""",
            (since, place, page),
        ):
            yield [one for (one,) in rows]
            place = rows[-1][0]

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
            [(retrying,)] = self._store.select(
                "SELECT count(*) FROM artifact WHERE state = 'pending' AND priority = ?",
                (Priority.RETRY,),
            )
            [(failed, lost, flawed, known)] = self._store.select(
                f"""SELECT total((state = 'failed') * (NOT acknowledged)),
                           total((state = 'lost') * (NOT acknowledged)),
                           total((state = 'uploaded') * (NOT acknowledged)), total(acknowledged)
                    FROM {schema.DEAD}"""
            )
            self._counted = version, replace(
                self._count("1"), retrying=retrying, failed=int(failed), lost=int(lost),
                flawed=int(flawed), acknowledged=int(known),
            )  # fmt: skip
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
        """The counts of the artifacts of events that started in this span, acknowledged or not."""
        return self._count("started >= ? AND started < ?", since, until)

    def wants_file(self, artifact_id: str) -> bool:
        """Whether the artifact's file will be read again: it is waited for or pending, or a dead
        letter."""
        rows = self._of("state", [artifact_id])
        return bool(rows) and rows[0][0] not in ("uploaded", "gone")

    def settled(self, state: str, page: int = 1000) -> Iterator[Settled]:
        """All rows of a settled state, oldest event first, read in pages."""
        return self._settled(f"artifact WHERE state = '{state}'", page)

    def dead_letters(self, page: int = 1000) -> Iterator[Settled]:
        """What was refused, lost, or is in the bucket with a flaw, each with its reason."""
        return self._settled(schema.DEAD, page)

    def _settled(self, rows_where: str, page: int) -> Iterator[Settled]:
        place = (-math.inf, "")
        while True:
            rows = self._store.select(
                f"""SELECT settled, id, key, tries, iif(state = 'uploaded', flaw, error), started
                   FROM {rows_where} AND (started, id) > (?, ?) ORDER BY started, id LIMIT ?""",
                (*place, page),
            )
            for row in rows:
                yield self._read(settled_of, row[:5])
            if len(rows) < page:
                return
            place = (rows[-1][5], rows[-1][1])

    def uploaded_keys(self, since: float, until: float, newest: int) -> list[tuple[str, str, int]]:
        """(id, key, size) of the newest of the artifacts of events that started in this span and
        are uploaded; a size of 0 is unknown."""
        return self._store.select(
            """SELECT id, key, size FROM artifact
               WHERE state = 'uploaded' AND started >= ? AND started < ?
               ORDER BY started DESC LIMIT ?""",
            (since, until, newest),
        )

    def prune(self, before: float, dead_before: float) -> tuple[int, int]:
        """Forget what both started and was settled before `before`, dead letters before
        `dead_before`, a page at a time. What is not uploaded yet is never forgotten. Returns how
        many rows, and how many dead letters that nobody had acknowledged."""
        old = "started < ? AND ifnull(settled, 0) < ?"
        page = f"""DELETE FROM artifact WHERE id IN (SELECT id FROM artifact
                   WHERE state IN ('uploaded', 'gone') AND {old} LIMIT 1000)"""
        dead = f"state IN ('failed', 'lost') AND {old}"
        when = (dead_before, dead_before)
        [(unheard,)] = self._store.select(
            f"SELECT count(*) FROM artifact WHERE {dead} AND acknowledged = 0", when
        )
        total = self._store.change(f"DELETE FROM artifact WHERE {dead}", when)
        while done := self._store.change(page, (before, before)):
            total += done
        return total, int(unheard)

    def keep_dead(self, since: float, until: float, now: float) -> None:
        """Dead letters of this span are no older than from `now`: the clock was wrong then."""
        self._store.change(
            """UPDATE artifact SET settled = ?1 WHERE id IN (SELECT id FROM artifact
                   WHERE state IN ('failed', 'lost') AND settled BETWEEN ?2 AND ?3)""",
            (now, since, until),
        )

    def note(self, name: str) -> str:
        """The text noted under `name`; empty where there is none."""
        rows = self._store.select("SELECT value FROM note WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else ""

    def take_note(self, name: str, value: str) -> None:
        self._store.change("INSERT OR REPLACE INTO note VALUES (?, ?)", (name, value))


_CHOSEN = "?3 IN ('', camera) AND ?2 IN ('', substr(id, instr(id, ':') + 1))"
