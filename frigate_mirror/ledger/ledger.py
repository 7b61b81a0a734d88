"""Ledger: queue, journal and dead letters in one SQLite table. `schema` defines the table.

    waiting ──> pending ──> uploaded   becomes pending again when its file changes
       │           ├──────> failed     the service rejects it: a dead letter, until `revive`
       │           └──────> lost       its file is gone before the upload: a dead letter
       └──> gone                       no file was found; pending if one appears later
    unwanted                           the owner's filters leave it out; pending once they select it

An artifact that is being uploaded stays `pending`; only this process's memory knows that it is
claimed. A crash therefore needs no repair. One process claims at a time (see `lock.StateLock`);
other processes may add and revive beside it.

Durability is WAL with synchronous=NORMAL. A power cut can undo the last commits. Then the same
bytes are uploaded to the same key once more, or the sweep adds a row again; nothing is lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from frigate_mirror.artifact import Artifact, Known, Opener, kind_of, open_file
from frigate_mirror.ledger import schema
from frigate_mirror.ledger.database import Database, LedgerError
from frigate_mirror.ledger.rows import (
    STATES,
    Counts,
    Dead,
    Entry,
    Priority,
    Settled,
    counts_of,
    dead_of,
    entry_of,
    known_of,
    row_of,
    settled_of,
)

__all__ = ["Ledger", "LedgerError"]
T = TypeVar("T")
Row = tuple[str, str, str, float, float, str, int, str]
"""An artifact that is uploaded or failed: id, camera, key, started, settled, state, size, error."""
Absent = tuple[str, str, float, str]
"""An artifact without a file: id, camera, started, and why it has none."""


class Ledger:
    """The ledger in the file `path`. It is safe to use from several threads, which take turns.
    Every method raises LedgerError."""

    def __init__(self, path: Path, *, alone: bool = True) -> None:
        """Opens the ledger. With `alone`, no other process may have it open, and it is made or
        brought up to date where needed. Raises LedgerError, LedgerDamaged for a file that is no
        ledger, and LedgerNewer."""
        self.path = path
        self.opener: Opener = open_file
        """Opens the artifacts that the ledger returns."""
        self._database = Database(path, alone=alone)
        self._claimed: set[str] = set()
        self._counted: tuple[object, Counts] = (None, Counts())

    @property
    def damaged(self) -> bool:
        """Whether SQLite found the file damaged, so that it must be put aside."""
        return self._database.damaged

    def close(self) -> None:
        self._database.close()

    # -- what comes in

    def add(
        self, artifact: Artifact, priority: Priority, now: float, due: float | None = None
    ) -> bool:
        """Queues an artifact, due from `due` on, or at once. Returns False if the ledger knows this
        version of it already, unless the artifact waited for its file, had none, or was lost."""
        row = (*row_of(artifact), priority, now if due is None else due, now)
        return self._database.change(schema.ADD, row) > 0

    def refuse(self, artifact_id: str, camera: str, started: float, error: str, now: float) -> None:
        """Records a subject that can have no key as a dead letter."""
        self._database.change(
            """INSERT INTO artifact (id, camera, started, state, priority, due, added, settled,
                                     error)
               VALUES (?, ?, ?, 'failed', 2, ?4, ?4, ?4, ?5) ON CONFLICT (id) DO UPDATE
               SET state = 'failed', settled = excluded.settled, error = excluded.error
               WHERE state IN ('waiting', 'gone', 'unwanted')""",
            (artifact_id, camera, started, now, error),
        )

    def wait(
        self,
        artifact_id: str,
        camera: str,
        started: float,
        due: float,
        looks: int = 1,
        *,
        priority: Priority = Priority.LIVE,
        bulk: bool = False,
        error: str | None = None,
    ) -> None:
        """Remembers an artifact whose file was missing or incomplete at each of `looks` looks. The
        next look is at `due`. If the file exists and an `error` keeps it from being made, the
        artifact is lost if there is no file later on."""
        self._database.change(
            """INSERT INTO artifact (id, camera, started, state, priority, due, added, attempts,
                                     bulk, error)
               VALUES (?, ?, ?, 'waiting', ?6, ?4, ?4, ?5, ?7, ?8)
               ON CONFLICT (id) DO UPDATE SET due = excluded.due, attempts = excluded.attempts,
                   bulk = excluded.bulk, error = ifnull(excluded.error, error)
               WHERE state = 'waiting'""",
            (artifact_id, camera, started, due, looks, priority, bulk, error),
        )

    def wait_again(self, artifact_ids: Iterable[str], now: float) -> int:
        """Makes bulk artifacts that were lost, or left out by the owner's filters, wait for their
        file again. Returns how many did not wait already."""
        with self._database.writing() as sql:
            return sql.executemany(
                """UPDATE artifact SET state = 'waiting', due = ?1, attempts = 1, bulk = 1,
                       error = CASE state WHEN 'lost' THEN error END,
                       settled = CASE state WHEN 'lost' THEN settled END
                   WHERE id = ?2 AND state IN ('lost', 'unwanted')""",
                [(now, artifact_id) for artifact_id in artifact_ids],
            ).rowcount

    def shelve(self, artifact_ids: Iterable[str], why: str, now: float) -> None:
        """Leaves out artifacts in the queue whose kind is not mirrored any more, and whose bytes
        are not held."""
        with self._database.writing() as sql:
            sql.executemany(
                """UPDATE artifact SET state = 'unwanted', error = ?1, settled = ?2
                   WHERE id = ?3 AND state = 'pending'""",
                [(why, now, artifact_id) for artifact_id in artifact_ids],
            )

    def mark(self, artifact_ids: Iterable[str], flaw: str) -> None:
        """Marks uploads that are not complete, and will not be completed any more, as flawed."""
        with self._database.writing() as sql:
            sql.executemany(
                f"""UPDATE artifact SET flaw = ?1, about = NULL, acknowledged = 0
                    WHERE id = ?2 AND state = 'uploaded' AND flaw = '' AND {_INCOMPLETE}""",
                [(flaw, artifact_id) for artifact_id in artifact_ids],
            )

    def note_digest(self, artifact_id: str, digest: str) -> None:
        """Notes the SHA-256 of an upload, in hex, if it is unknown."""
        self._database.change(
            "UPDATE artifact SET digest = ? WHERE id = ? AND state = 'uploaded' AND digest IS NULL",
            (digest, artifact_id),
        )

    def leave_out(self, rows: Iterable[Absent], now: float) -> None:
        """Remembers artifacts that the owner's settings leave out. Artifacts that are in the queue,
        uploaded or dead letters stay as they are."""
        change = "state = 'unwanted', error = excluded.error WHERE state IN ('waiting', 'unwanted')"
        self._set_aside(rows, now, "unwanted", change)

    def note_absent(self, rows: Iterable[Absent], now: float) -> None:
        """Remembers artifacts that have no file and will have none. One that was a dead letter
        becomes one again. Artifacts that are in the queue or uploaded stay as they are."""
        self._set_aside(
            rows,
            now,
            "gone",
            """state = CASE WHEN state = 'waiting' AND error NOT NULL THEN 'lost' ELSE 'gone' END,
               error = excluded.error, settled = excluded.settled
               WHERE state IN ('waiting', 'gone', 'unwanted')""",
        )

    def _set_aside(self, rows: Iterable[Absent], now: float, state: str, change: str) -> None:
        with self._database.writing() as sql:
            sql.executemany(
                f"""INSERT INTO artifact (id, camera, started, error, state, priority, due, added,
                                          settled)
                    VALUES (?, ?, ?, ?, '{state}', 2, ?5, ?5, ?5)
                    ON CONFLICT (id) DO UPDATE SET {change}""",
                ((*row, now) for row in rows),
            )

    def add_settled(self, rows: Iterable[Row]) -> int:
        """Adds artifacts that are uploaded or failed already, from a state file or a listing. Known
        artifacts stay as they are. Returns how many are new."""
        total, source = 0, iter(rows)
        # Pages are gathered outside the transaction, because a bucket's listing can take long.
        while page := list(islice(source, 1000)):
            with self._database.writing() as sql:
                total += sql.executemany(
                    """INSERT OR IGNORE INTO artifact
                           (id, camera, key, started, settled, state, size, error,
                            priority, due, added)
                       VALUES (?, ?, ?, ?, ?5, ?6, ?7, ?8, 2, ?5, ?5)""",
                    page,
                ).rowcount
        return total

    def take_over(self, other: Path) -> int:
        """Takes over everything from another ledger of this version in one transaction. Returns how
        many of its artifacts are still to be uploaded. If both ledgers know an artifact, the later
        row wins: since the earlier row, the file may have changed or vanished from the bucket."""
        with self._database.attached(other) as sql:
            sql.execute("BEGIN IMMEDIATE")
            sql.execute(f"DELETE FROM artifact WHERE id IN ({schema.OUTDATED})")
            [(pending,)] = sql.execute(
                """SELECT count(*) FROM other.artifact AS theirs
                   WHERE state IN ('pending', 'waiting')
                     AND NOT EXISTS (SELECT 1 FROM artifact WHERE id = theirs.id)"""
            ).fetchall()
            sql.execute(schema.TAKE_OVER)
            sql.execute(schema.TAKE_OVER_NOTES, (_FORGOTTEN, _LAST_UPLOAD))
            sql.execute("COMMIT")
        return int(pending)

    def make_durable(self) -> None:
        """Returns when all commits so far would survive a power cut."""
        self._database.select("PRAGMA wal_checkpoint(TRUNCATE)")

    # -- what it knows of some artifacts

    def unknown(self, artifact_ids: Collection[str]) -> list[str]:
        """Returns those of the ids that have no row, in their order."""
        known = {artifact_id for (artifact_id,) in self._of("id", artifact_ids)}
        return [artifact_id for artifact_id in artifact_ids if artifact_id not in known]

    def known(self, artifact_ids: Collection[str]) -> dict[str, Known]:
        """Returns what it knows of those of the ids that have a row."""
        columns = "id, state, key, size, digest, version, about, error"
        rows = (self._read(known_of, row) for row in self._of(columns, artifact_ids))
        return {known.id: known for known in rows}

    def unfinished(self) -> list[str]:
        """Returns the ids of the uploaded artifacts whose `about` says that they are not complete
        yet."""
        rows = self._database.select_aside(
            f"SELECT id FROM artifact WHERE state = 'uploaded' AND {_INCOMPLETE}"
        )
        return [artifact_id for (artifact_id,) in rows]

    def versions(self, artifact_ids: Collection[str]) -> dict[str, str]:
        """Returns the uploaded version of those of the ids that are uploaded. The version is empty
        where the upload is older than versions are."""
        rows = self._of("id, version, state", artifact_ids)
        return {
            artifact_id: version or ""
            for artifact_id, version, state in rows
            if state == "uploaded"
        }

    def recognise(self, artifacts: Iterable[Artifact], *, of_any_size: bool = False) -> None:
        """Completes the rows of uploads that are older than versions are: the file of today counts
        as uploaded, unless its size differs from the uploaded size, which `of_any_size` ignores."""
        with self._database.writing() as sql:
            sql.executemany(
                """UPDATE artifact SET version = ?1, size = ?2
                   WHERE id = ?3 AND state = 'uploaded' AND version IS NULL
                     AND (?4 OR size IN (0, ?2))""",
                [(one.version, one.size, one.id, of_any_size) for one in artifacts],
            )

    def wants_file(self, artifact_id: str) -> bool:
        """Returns whether the artifact's file will be read again: the artifact waits for it, is in
        the queue, is a dead letter, or is uploaded and not complete yet."""
        rows = self._of(f"state, {_INCOMPLETE}", [artifact_id])
        return any(
            bool(incomplete) if state == "uploaded" else state not in ("gone", "unwanted")
            for state, incomplete in rows
        )

    def _of(self, columns: str, artifact_ids: Collection[str]) -> list[Any]:
        ids, rows = list(artifact_ids), []
        for at in range(0, len(ids), 500):
            some = tuple(ids[at : at + 500])
            marks = ",".join("?" * len(some))
            query = f"SELECT {columns} FROM artifact WHERE id IN ({marks})"
            rows += self._database.select(query, some)
        return rows

    # -- the queue

    def claim(
        self, now: float, last: Priority = Priority.BACKLOG, *, bulk: bool = False
    ) -> Entry | None:
        """Claims the next artifact that is due and unclaimed, up to the priority `last`, among the
        bulk artifacts or among the others. Returns None if there is none. Live artifacts come
        before retries, and retries before the backlog. Of the live ones the newest comes first, so
        that after an outage present events do not wait behind old ones."""
        with self._database.turn:
            for priority in range(Priority.LIVE, last + 1):
                query = schema.NEWEST_DUE if priority == Priority.LIVE else schema.OLDEST_DUE
                for (artifact_id,) in self._database.cursor(query, (bulk, priority, now)):
                    if artifact_id not in self._claimed:
                        query = f"SELECT {schema.COLUMNS} FROM artifact WHERE id = ?"
                        [row] = self._database.rows(query, (artifact_id,))
                        entry = self._entry(row)
                        self._claimed.add(artifact_id)
                        return entry
        return None

    def unclaim(self, *artifact_ids: str) -> None:
        """Gives claimed artifacts back as they are."""
        with self._database.turn:
            self._claimed.difference_update(artifact_ids)

    @property
    def claimed(self) -> int:
        """How many artifacts are being uploaded, or are uploaded and not settled yet."""
        return len(self._claimed)

    def next_due(self, *, bulk: bool = False) -> float | None:
        """Returns when the next unclaimed artifact is due, among the bulk artifacts or among the
        others, or None if there is none."""
        times: list[float] = []
        with self._database.turn:
            for priority in Priority:
                rows = self._database.cursor(schema.SOONEST, (bulk, priority))
                free = (due for artifact_id, due in rows if artifact_id not in self._claimed)
                times += islice(free, 1)
        return min(times, default=None)

    def settle(self, done: Collection[Settled]) -> set[str]:
        """Records in one commit that the bucket holds these artifacts, and unclaims them. Clears
        the columns that only the queue needs. An artifact that was queued again in a newer version
        meanwhile stays in the queue. Returns the ids of those whose file will be read again: those
        that stay, and those whose `about` says that they are not complete yet."""
        with self._database.writing() as sql:
            sql.executemany(
                """UPDATE artifact SET settled = ?1, attempts = attempts + 1, error = NULL,
                       size = CASE WHEN ?4 > 0 AND (version IS NULL OR version = ?3) THEN ?4
                                   ELSE size END,
                       digest = CASE WHEN version IS NULL OR version = ?3 THEN ?5 END,
                       state = CASE WHEN version IS NULL OR version = ?3 THEN 'uploaded'
                                    ELSE state END
                   WHERE id = ?2""",
                [(one.at, one.id, one.version, one.size, one.digest or None) for one in done],
            )
            sql.executemany(
                """UPDATE artifact SET origin = NULL, content_type = NULL, metadata = NULL
                   WHERE id = ? AND state = 'uploaded'""",
                [(one.id,) for one in done],
            )
            if done:
                newest = max(one.at for one in done)
                sql.execute(schema.SET_NOTE, (_LAST_UPLOAD, repr(newest)))
                sql.execute(schema.ADD_TO_NOTE, (_BYTES, sum(one.size for one in done)))
        ids = [one.id for one in done]
        # If this fails, `done` is settled once more.
        states = self._of(f"id, state, {_INCOMPLETE}", ids)
        self.unclaim(*ids)
        return {one for one, state, incomplete in states if state == "pending" or incomplete}

    def defer(self, artifact_id: str, due: float, error: str, *, charged: bool) -> None:
        """Puts an artifact off until `due`, behind the live ones. If `charged`, the attempt counts
        as one of its tries."""
        change = """due = ?, error = ?, tries = tries + ?, attempts = attempts + 1,
                    priority = max(priority, 1)"""
        self._decide(artifact_id, "pending", change, due, error, int(charged))

    def bury(self, artifact_id: str, error: str, now: float) -> None:
        """Makes an artifact whose tries are used up a dead letter, until it is revived."""
        change = """state = 'failed', settled = ?, error = ?, tries = tries + 1,
                    attempts = attempts + 1, acknowledged = 0"""
        self._decide(artifact_id, "pending", change, now, error)

    def lose(self, artifact_id: str, error: str, now: float) -> None:
        """Makes an artifact whose file is gone before its upload a dead letter. If an earlier
        version is in the bucket, the artifact counts as uploaded with a flaw; its version, size and
        digest are then unknown."""
        change = """state = CASE WHEN settled IS NULL THEN 'lost' ELSE 'uploaded' END,
                    error = CASE WHEN settled IS NULL THEN ?2 END,
                    flaw = CASE WHEN settled IS NULL THEN flaw
                                ELSE 'only an earlier version is in the bucket: ' || ?2 END,
                    version = CASE WHEN settled IS NULL THEN version ELSE '' END,
                    size = CASE WHEN settled IS NULL THEN size ELSE 0 END,
                    digest = NULL, settled = ifnull(settled, ?1), acknowledged = 0"""
        statement = f"UPDATE artifact SET {change} WHERE id = ?3 AND state = 'pending'"
        self._database.change(statement, (now, error, artifact_id))

    def give_up(self, artifact_id: str, error: str, now: float, *, lost: bool = False) -> None:
        """Stops waiting for a file. The artifact becomes a dead letter if it was one before, or if
        `lost` says that nobody can tell whether there is a file. Otherwise it has none."""
        change = """state = CASE WHEN error IS NULL AND NOT ? THEN 'gone' ELSE 'lost' END,
                    settled = ?, error = ?"""
        self._decide(artifact_id, "waiting", change, lost, now, error)

    def _decide(self, artifact_id: str, was: str, change: str, *values: object) -> None:
        """Updates the row only if its state is still `was`. It stays claimed until `unclaim`."""
        statement = f"UPDATE artifact SET {change} WHERE id = ? AND state = ?"
        self._database.change(statement, (*values, artifact_id, was))

    def hasten(self, now: float) -> None:
        """Makes the artifacts due at once that only an outage of the service has put off."""
        self._database.change(schema.HASTEN, (now,))

    def mend_clock(self, now: float, farthest: float) -> None:
        """Makes due at once what a clock that was set back has put off: artifacts that are due
        later than `farthest`, and artifacts that were never tried and are not due yet."""
        self._database.change(schema.MEND_PENDING, (now, farthest))
        self._database.change(schema.MEND_WAITING, (now, farthest))

    def pending(self, wanted: Callable[[str], bool], page: int = 1000) -> Iterator[Artifact]:
        """Yields the artifacts in the queue for which `wanted(artifact id)` is true."""
        after = (-math.inf, "")
        while True:
            rows = self._database.select(
                """SELECT added, id FROM artifact INDEXED BY artifact_added
                   WHERE state = 'pending' AND (added, id) > (?, ?) ORDER BY added, id LIMIT ?""",
                (*after, page),
            )
            for artifact_id in [row[1] for row in rows if wanted(row[1])]:
                query = f"SELECT {schema.COLUMNS} FROM artifact WHERE id = ? AND state = 'pending'"
                for row in self._database.select(query, (artifact_id,)):
                    yield self._entry(row).artifact
            if len(rows) < page:
                return
            after = rows[-1]

    def oldest_pending(self) -> float | None:
        """Returns since when the artifact that has been pending longest is in the queue, or the one
        that has been due longest to be made. Returns None if there is neither."""
        query = "SELECT min(added) FROM artifact INDEXED BY artifact_added WHERE state = 'pending'"
        times = self._database.select(query)
        for priority in Priority:
            times += self._database.select(schema.OLDEST_TO_MAKE, (priority,))
        return min((oldest for (oldest,) in times if oldest is not None), default=None)

    # -- artifacts without a file

    def waiting(
        self, now: float, most: int, *, bulk: bool = False
    ) -> list[tuple[str, str, float, int]]:
        """Returns artifacts that still wait for their file and are due, as (id, camera, started,
        looks so far): bulk artifacts or the others, live ones first."""
        rows: list[tuple[str, str, float, int]] = []
        for priority in Priority:
            rows += self._database.select(
                """SELECT id, camera, started, attempts FROM artifact INDEXED BY artifact_waiting
                   WHERE state = 'waiting' AND bulk = ? AND priority = ? AND due <= ?
                   ORDER BY due LIMIT ?""",
                (bulk, priority, now, most - len(rows)),
            )
        return rows

    def to_make(self, since: float, until: float) -> int:
        """Returns how many bulk artifacts wait to be made, of subjects that started in this
        span."""
        [(count,)] = self._database.select(
            """SELECT count(*) FROM artifact INDEXED BY artifact_state
               WHERE state = 'waiting' AND bulk = 1 AND started >= ? AND started < ?""",
            (since, until),
        )
        return int(count)

    def without_file(self, since: float, page: int = 1000) -> Iterator[list[str]]:
        """Yields, in pages, the ids of artifacts that had no file, of subjects that started from
        `since` on. A file may have appeared since, for example when a disk came back. A bulk file
        never appears by itself."""
        yield from self._in_states("state = 'lost' OR state = 'gone' AND NOT bulk", since, page)

    def unwanted(self, since: float, page: int = 1000) -> Iterator[list[str]]:
        """Yields, in pages, the ids of artifacts that the owner's filters left out, of subjects
        that started from `since` on."""
        yield from self._in_states("state = 'unwanted'", since, page)

    def _in_states(self, states: str, since: float, page: int) -> Iterator[list[str]]:
        after = ""
        while rows := self._database.select(
            f"""SELECT id FROM artifact WHERE ({states}) AND started >= ? AND id > ?
               ORDER BY id LIMIT ?""",
            (since, after, page),
        ):
            yield [artifact_id for (artifact_id,) in rows]
            after = rows[-1][0]

    # -- dead letters

    def revive(self, event_id: str = "", camera: str = "", now: float = 0.0) -> int:
        """Makes dead letters due again with all their tries: all, or those of one event or camera.
        One without an origin, such as one from a state file, has to be looked for again."""
        return self._database.change(
            f"""UPDATE artifact SET due = ?1, tries = 0, attempts = 0, priority = 1,
                   settled = NULL, acknowledged = 0,
                   state = CASE WHEN ifnull(origin, '') = '' THEN 'waiting' ELSE 'pending' END
               WHERE state IN ('failed', 'lost') AND {_CHOSEN}""",
            (now, event_id, camera),
        )

    def acknowledge(self, event_id: str = "", camera: str = "") -> int:
        """Records that the owner knows of these dead letters and flaws, so that they no longer
        count: all, or those of one event or camera."""
        return self._database.change(
            f"""UPDATE artifact SET acknowledged = 1 WHERE id IN (SELECT id FROM {schema.DEAD})
               AND acknowledged != ?1 AND {_CHOSEN}""",
            (1, event_id, camera),
        )

    def cameras(self) -> dict[str, int]:
        """Returns how many failed and lost artifacts each camera of the ledger has, acknowledged or
        not."""
        rows = self._database.select(
            """SELECT camera, total(state IN ('failed', 'lost')) FROM artifact
               GROUP BY camera ORDER BY camera"""
        )
        return {camera: int(dead) for camera, dead in rows}

    def states(self, event_id: str) -> list[tuple[str, str, int]]:
        """Returns (camera, state, acknowledged) of each artifact of an event."""
        query = f"SELECT camera, state, acknowledged FROM artifact WHERE {_CHOSEN} ORDER BY id"
        return self._database.select(query, (None, event_id, ""))

    def vanished(self, artifact_ids: Iterable[str], error: str, now: float) -> int:
        """Records that the bucket no longer holds these uploaded artifacts."""
        with self._database.writing() as sql:
            return sql.executemany(
                """UPDATE artifact SET state = 'lost', settled = ?, error = ?, acknowledged = 0
                   WHERE id = ? AND state = 'uploaded'""",
                [(now, error, artifact_id) for artifact_id in artifact_ids],
            ).rowcount

    def dead_letters(self, page: int = 1000) -> Iterator[Settled]:
        """Yields the artifacts that were rejected, lost, or uploaded with a flaw; each with its
        reason."""
        return self._settled(schema.DEAD, page)

    def dead_letters_token(self) -> object:
        """Returns a token that changes when a dead letter comes, goes or is acknowledged."""
        return self._database.select(
            f"""SELECT count(*), total(acknowledged), max(settled), total(settled)
                FROM {schema.DEAD}"""
        )

    def keep_dead(self, since: float, until: float, now: float) -> None:
        """Sets the date of the dead letters of this span to `now`. The clock was wrong when they
        were recorded, and `prune` would delete them as too old."""
        self._database.change(
            """UPDATE artifact SET settled = ?1 WHERE id IN (SELECT id FROM artifact
                   WHERE state IN ('failed', 'lost') AND settled BETWEEN ?2 AND ?3)""",
            (now, since, until),
        )

    # -- what is uploaded, and how many

    def counts(self) -> Counts:
        """Returns how many artifacts are in each state."""
        version = self._database.version()
        if version != self._counted[0]:  # counting a million rows takes a tenth of a second
            [(retrying,)] = self._database.select(
                """SELECT count(*) FROM artifact INDEXED BY artifact_queue
                   WHERE state = 'pending' AND bulk IN (0, 1) AND priority = ?""",
                (Priority.RETRY,),
            )
            [(failed, lost, flawed, acknowledged)] = self._database.select(
                f"""SELECT total((state = 'failed') * (NOT acknowledged)),
                           total((state = 'lost') * (NOT acknowledged)),
                           total((state = 'uploaded') * (NOT acknowledged)), total(acknowledged)
                    FROM {schema.DEAD}"""
            )
            [(lost_to_make,)] = self._database.select(schema.LOST_TO_MAKE)
            kinds = self._count_kinds()
            states = [(state, sum(one.get(state, 0) for one in kinds.values())) for state in STATES]
            self._counted = version, replace(
                counts_of(states), kinds=kinds, retrying=retrying, failed=int(failed),
                lost=int(lost) + lost_to_make, flawed=int(flawed), acknowledged=int(acknowledged),
                forgotten=self._number(_FORGOTTEN, int) or 0,
            )  # fmt: skip
        return self._counted[1]

    def _count_kinds(self) -> dict[str, dict[str, int]]:
        """Returns how many artifacts of each kind are in each state."""
        kinds: list[str] = []
        while rows := self._database.select(
            "SELECT id FROM artifact WHERE id > ? ORDER BY id LIMIT 1",
            (f"{kinds[-1]};" if kinds else "",),  # the semicolon follows the colon
        ):
            kinds.append(kind_of(rows[0][0]))
        # No sum is needed for a single kind, which is the usual case.
        sums = [f"total(id > '{kind}:' AND id < '{kind};')" for kind in kinds[1:]]
        columns = ", ".join(["state", "count(*)", *sums])
        rows = self._database.select_aside(f"SELECT {columns} FROM artifact GROUP BY state")
        counted: dict[str, dict[str, int]] = {kind: {} for kind in kinds}
        for state, count, *others in rows:
            if state not in STATES:
                raise self._database.distrust(f"a row makes no sense: its state is {state!r}")
            numbers = [count - int(sum(others)), *map(int, others)]
            for kind, number in zip(kinds, numbers, strict=True):
                if number:
                    counted[kind][state] = number
        return counted

    def events(self) -> tuple[int, int]:
        """Returns of how many subjects at least one file is uploaded, and of how many at least one
        is a dead letter that nobody has acknowledged."""
        counts = self.counts()
        if len(counts.kinds) <= 1:
            return counts.uploaded, counts.failed + counts.lost
        rest = "substr(id, instr(id, ':') + 1)"  # the subject, and the number of a further part
        subjects = f"count(DISTINCT substr({rest}, 1, instr({rest} || ':', ':') - 1))"
        [(tracked,)] = self._database.select_aside(
            f"""SELECT count(DISTINCT {rest}) FROM artifact
                WHERE state = 'uploaded' AND instr({rest}, ':') = 0"""
        )
        [(failed,)] = self._database.select(
            f"""SELECT {subjects} FROM {schema.DEAD}
                AND state IN ('failed', 'lost') AND NOT acknowledged"""
        )
        return int(tracked), int(failed)

    def between(self, since: float, until: float) -> Counts:
        """Returns the counts for subjects that started in this span, acknowledged or not."""
        return self._count("started >= ? AND started < ?", since, until)

    def uploaded_after(self, moment: float, since: float, until: float) -> int:
        """Returns how many artifacts, of subjects that started in this span, were uploaded at
        `moment` or later."""
        [(count,)] = self._database.select(
            """SELECT count(*) FROM artifact WHERE state = 'uploaded' AND settled >= ?
               AND started >= ? AND started < ?""",
            (moment, since, until),
        )
        return int(count)

    def last_upload(self) -> float | None:
        """Returns when the newest upload was settled, or None if there was none. It is noted,
        because the row of that upload may be forgotten."""
        noted = self._number(_LAST_UPLOAD, float)
        if noted is not None:
            return noted
        # The rows of a state file or of an earlier version come without the note. A million of them
        # take a second, so it is made now.
        newest: float | None
        query = "SELECT max(settled) FROM artifact WHERE state = 'uploaded'"
        [(newest,)] = self._database.select_aside(query)
        if newest is not None:
            with suppress(LedgerError):  # a disk is full; the next call looks again
                self.set_note(_LAST_UPLOAD, repr(newest))
        return newest

    def uploaded_bytes(self) -> int:
        """Returns how many bytes all uploads together had since the ledger was made. It is counted
        in the same commit as the uploads, so it stays right whenever the process is killed."""
        return self._number(_BYTES, int) or 0

    def count_cameras(self) -> dict[str, dict[str, int]]:
        """Returns how many artifacts of each camera are in each state. It reads the whole table: a
        million rows take half a second, in which nobody else has to wait."""
        rows = self._database.select_aside(
            "SELECT camera, state, count(*) FROM artifact GROUP BY camera, state"
        )
        counted: dict[str, dict[str, int]] = {}
        for camera, state, count in rows:
            counted.setdefault(str(camera), {})[str(state)] = int(count)
        return counted

    def newest_dead(self, most: int) -> list[Dead]:
        """Returns the newest dead letters and flaws that nobody has acknowledged, at most so
        many."""
        rows = self._database.select_aside(
            f"""SELECT id, camera, started, state, iif(state = 'uploaded', flaw, error)
                FROM {schema.DEAD} AND NOT acknowledged ORDER BY started DESC, id DESC LIMIT ?""",
            (most,),
        )
        return [self._read(dead_of, row) for row in rows]

    def _count(self, condition: str, *values: object) -> Counts:
        query = f"SELECT state, count(*) FROM artifact WHERE {condition} GROUP BY state"
        return self._read(counts_of, self._database.select_aside(query, values))

    def uploaded(self, page: int = 1000) -> Iterator[Settled]:
        """Yields all uploaded artifacts; those of the oldest subjects come first."""
        return self._settled("artifact WHERE state = 'uploaded'", page)

    def _settled(self, rows_where: str, page: int) -> Iterator[Settled]:
        after = (-math.inf, "")
        while True:
            rows = self._database.select(
                f"""SELECT settled, id, key, tries, iif(state = 'uploaded', flaw, error), started
                   FROM {rows_where} AND (started, id) > (?, ?) ORDER BY started, id LIMIT ?""",
                (*after, page),
            )
            for row in rows:
                yield self._read(settled_of, row[:5])
            if len(rows) < page:
                return
            after = (rows[-1][5], rows[-1][1])

    def uploaded_keys(self, since: float, until: float, newest: int) -> list[tuple[str, str, int]]:
        """Returns (id, key, size) of the `newest` uploaded artifacts whose subjects started in this
        span; -1 means all. A size of 0 is unknown."""
        return self._database.select(
            """SELECT id, key, size FROM artifact
               WHERE state = 'uploaded' AND started >= ? AND started < ?
               ORDER BY started DESC LIMIT ?""",
            (since, until, newest),
        )

    def prune(self, before: float, dead_before: float) -> tuple[int, int]:
        """Forgets what both started and was settled before `before`, and dead letters from before
        `dead_before`, a page at a time. What is not uploaded yet is never forgotten. Adds the
        forgotten uploads to the count of them. Returns the number of rows, and the number of dead
        letters that nobody had acknowledged."""
        old = "started < ? AND ifnull(settled, 0) < ?"
        page = f"""DELETE FROM artifact WHERE id IN (SELECT id FROM artifact
                   WHERE state IN ('uploaded', 'gone', 'unwanted') AND {old} LIMIT 1000)
                   RETURNING state, version"""
        dead = f"state IN ('failed', 'lost') AND {old}"
        when = (dead_before, dead_before)
        [(unacknowledged,)] = self._database.select(
            f"SELECT count(*) FROM artifact WHERE {dead} AND acknowledged = 0", when
        )
        total = self._database.change(f"DELETE FROM artifact WHERE {dead}", when)
        while uploads := self._forget(page, before):
            total += len(uploads)
        return total, int(unacknowledged)

    def _forget(self, page: str, before: float) -> list[bool]:
        """Deletes a page of rows; returns for each whether this ledger had uploaded it. Rows from a
        listing of the bucket have no version. They do not count, because a second listing would
        count them again."""
        with self._database.writing() as sql:
            # SQLite 3.40 answers `version IS NOT NULL` wrongly in RETURNING.
            rows = sql.execute(page, (before, before)).fetchall()
            uploads = [state == "uploaded" and version is not None for state, version in rows]
            if any(uploads):
                sql.execute(schema.ADD_TO_NOTE, (_FORGOTTEN, sum(uploads)))
        return uploads

    # -- single values

    def note(self, name: str) -> str:
        """Returns the text that was noted under `name`, or an empty text."""
        rows = self._database.select("SELECT value FROM note WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else ""

    def set_note(self, name: str, value: str) -> None:
        self._database.change(schema.SET_NOTE, (name, value))

    def _number(self, name: str, form: Callable[[str], T]) -> T | None:
        """Returns the number that was noted under `name`, or None."""
        text = self.note(name)
        return self._read(form, text) if text else None

    def _entry(self, row: tuple[Any, ...]) -> Entry:
        return self._read(lambda columns: entry_of(columns, self.opener), row)

    def _read(self, form: Callable[[Any], T], row: Any) -> T:
        """Returns `form(row)`. A row that makes no sense means that the ledger is damaged."""
        try:
            return form(row)
        except (TypeError, ValueError) as error:
            raise self._database.distrust(f"a row makes no sense: {error}") from error


_INCOMPLETE = "ifnull(json_extract(about, '$.complete') = 0, 0)"
_FORGOTTEN, _LAST_UPLOAD, _BYTES = "forgotten uploads", "last upload", "uploaded bytes"  # notes
_CHOSEN = "?3 IN ('', camera) AND (?2 = '' OR instr(id || ':', ':' || ?2 || ':'))"
