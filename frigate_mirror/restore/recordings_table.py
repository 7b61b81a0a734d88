"""Frigate's table of recordings, and the writing to it while Frigate itself writes.

The table is taken as this database has it, by `PRAGMA table_info` and never by the number of a
migration. Each transaction adds at most 100 rows, and a pause follows it, so that Frigate's own
writes never wait long. This process has its own connection with Python's SQLite; it must not run
inside Frigate's process.
"""

from __future__ import annotations

import os
import random
import sqlite3
import string
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

BATCH = 100  # rows of a transaction
PAUSE = 0.05  # seconds after a transaction, at least
LONG = 0.1  # seconds; after a longer transaction the next one has half as many rows
BUSY = 30.0  # seconds that one try waits for the lock
NEEDED = ("id", "camera", "path", "start_time", "end_time", "duration", "segment_size")
MEASURED = ("motion", "objects", "dBFS", "regions", "motion_heatmap")
"""The columns for what Frigate measures while it records. The first four are numbers."""
STREAM = "stream_type"
MEDIA = ("has_audio", "audio_rate", "audio_codec", "video_codec", "keyframes")
LETTERS = string.ascii_lowercase + string.digits
BANDWIDTH = """SELECT avg(mib / seconds) * 3600 FROM (
    SELECT segment_size AS mib, end_time - start_time AS seconds FROM recordings
    WHERE camera = ? AND segment_size > 0 ORDER BY start_time DESC LIMIT 100)"""
REVIEWS = """SELECT start_time, end_time, severity FROM reviewsegment
    WHERE camera = ? AND typeof(start_time) IN ('integer', 'real')
    AND typeof(end_time) IN ('integer', 'real', 'null') ORDER BY start_time"""


class TableError(Exception):
    """Frigate's table cannot be used. The text says why, and what to do."""


class TableLockedError(TableError):
    """Another program holds the lock of Frigate's database."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row as far as the backfill needs it. Times are Unix seconds, sizes MiB."""

    path: str
    stream: str
    start: float
    end: float
    duration: float
    size: float
    id: str = ""


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """A review item; `end` is None while it is in progress."""

    start: float
    end: float | None
    severity: str


class RecordingsTable:
    """The table in the database `path`. Everything raises TableError.

    `clock` and `sleep` are in seconds. `lock_times` has how many seconds each of our transactions
    held the lock.
    """

    def __init__(
        self,
        path: Path,
        busy: float = BUSY,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._path = path
        self._clock = clock
        self._sleep = sleep
        self._batch = BATCH
        self.lock_times: list[float] = []
        try:
            self._inode = _inode(path)
            self._database = sqlite3.connect(
                f"file:{quote(os.fsencode(path))}?mode=rw", uri=True, timeout=busy,
                isolation_level=None,
            )  # fmt: skip
        except (OSError, sqlite3.Error) as error:
            raise TableError(
                f"{path} cannot be opened: {error}; FRIGATE_DB_PATH names Frigate's database"
            ) from error
        # A connection's own default would wait for the disk at each commit, with the lock held.
        self._ask("PRAGMA synchronous=NORMAL")
        self._columns = self._read_columns()

    def close(self) -> None:
        self._database.close()

    def _read_columns(self) -> frozenset[str]:
        described = self._ask("PRAGMA table_info(recordings)")
        columns = frozenset(name for _, name, *_ in described)
        if missing := [name for name in NEEDED if name not in columns]:
            raise TableError(
                f"{self._path} has no table of recordings as Frigate 0.16 to 0.18 have it: "
                f"{', '.join(missing)} missing; start Frigate once, so that it makes its tables"
            )
        known = {*NEEDED, *MEASURED, *MEDIA, STREAM}
        if strange := [
            name
            for _, name, _, not_null, default, _ in described
            if not_null and default is None and name not in known
        ]:
            raise TableError(
                f"{self._path} wants a value for {', '.join(strange)}, which this version does not "
                "know; get a newer one"
            )
        return columns

    # -- what is there

    @property
    def has_streams(self) -> bool:
        """Whether this Frigate records more than one stream of a camera."""
        return STREAM in self._columns

    @property
    def counts_later_reviews(self) -> bool:
        """Whether Frigate's cleanup also looks at review items that began within the continuous
        retention. Frigate 0.18 does; its table has a column for heat maps."""
        return "motion_heatmap" in self._columns

    def known(self, camera: str, since: float, until: float) -> list[Row]:
        """Returns the rows of the camera that start from `since` to before `until`, in order."""
        condition = "camera = ? AND start_time >= ? AND start_time < ? ORDER BY start_time"
        return self._rows(condition, (camera, since, until))

    def row_of(self, path: str) -> Row | None:
        """Returns the row with this path."""
        return next(iter(self._rows("path = ?", (path,))), None)

    def _rows(self, condition: str, values: Sequence[object]) -> list[Row]:
        stream = STREAM if self.has_streams else "'main'"
        rows = self._ask(
            f"SELECT path, {stream}, start_time, end_time, duration, segment_size, id "
            f"FROM recordings WHERE {condition}",
            values,
        )
        return [Row(*row) for row in rows if _is_sound(row)]

    def newest_paths(self, most: int = 100) -> list[str]:
        """Returns the paths of the newest rows of all cameras."""
        rows = self._ask("SELECT path FROM recordings ORDER BY start_time DESC LIMIT ?", (most,))
        return [str(path) for (path,) in rows]

    def reviews(self, camera: str) -> list[ReviewItem]:
        """Returns the review items of the camera, in order."""
        return [ReviewItem(*row) for row in self._ask(REVIEWS, (camera,))]

    def bandwidth(self, cameras: Iterable[str]) -> float:
        """Returns how many MiB these cameras record in an hour, as Frigate's storage maintainer
        computes it from the last 100 segments of each."""
        return sum(self._ask(BANDWIDTH, (camera,))[0][0] or 0.0 for camera in cameras)

    def oldest(self, size: float) -> float:
        """Returns the start of the last one of the oldest segments that have `size` MiB
        together."""
        last = total = 0.0
        with self._errors():
            for start, mib in self._database.execute(
                "SELECT start_time, segment_size FROM recordings "
                "WHERE typeof(start_time) IN ('integer', 'real') "
                "AND typeof(segment_size) IN ('integer', 'real') ORDER BY start_time"
            ):
                if total > size:
                    break
                last, total = start, total + mib
        return last

    # -- writing

    def batches(self, rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
        """Yields the rows in pieces of the size that a transaction may have now."""
        at = 0
        while at < len(rows):
            size = self._batch  # the transaction changes it
            yield rows[at : at + size]
            at += size

    def add(self, camera: str, rows: Sequence[Row], measured: Mapping[str, object]) -> set[str]:
        """Adds the rows in one transaction and returns the paths of those that were added. A row
        whose path is in the table is left as it is. `measured` are values for the columns of
        MEASURED; without one a column is NULL, which means unknown."""
        given = {name: value for name, value in measured.items() if name in self._columns}
        names = [*NEEDED, *given, *([STREAM] if self.has_streams else [])]
        marks = ", ".join("?" * len(names))
        statement = (
            f"INSERT INTO recordings ({', '.join(names)}) VALUES ({marks}) ON CONFLICT DO NOTHING"
        )
        added = set()
        with self._transaction():
            for row in rows:
                values: list[object] = [
                    row.id,
                    camera,
                    row.path,
                    row.start,
                    row.end,
                    row.duration,
                    row.size,
                ]
                values += [*given.values(), *([row.stream] if self.has_streams else [])]
                if self._database.execute(statement, values).rowcount:
                    added.add(row.path)
        return added

    def update(self, rows: Sequence[Row], forget_measured: bool = False) -> set[str]:
        """Corrects the rows with these paths in one transaction. Their ids stay, and also what
        Frigate has measured, unless that is to be forgotten. Returns the paths of those that were
        there."""
        forgotten = [name for name in MEASURED if forget_measured and name in self._columns]
        names = ["start_time", "end_time", "duration", "segment_size"]
        sets = ", ".join([f"{name} = ?" for name in names] + [f"{one} = NULL" for one in forgotten])
        statement = f"UPDATE recordings SET {sets} WHERE path = ?"
        changed = set()
        with self._transaction():
            for row in rows:
                values = (row.start, row.end, row.duration, row.size, row.path)
                if self._database.execute(statement, values).rowcount:
                    changed.add(row.path)
        return changed

    def remove(self, rows: Sequence[tuple[str, str]]) -> int:
        """Deletes the rows with these ids and paths in one transaction; the files stay. Returns how
        many there were."""
        removed = 0
        with self._transaction():
            for row in rows:
                done = self._database.execute(
                    "DELETE FROM recordings WHERE id = ? AND path = ?", row
                )
                removed += done.rowcount
        return removed

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Holds Frigate's lock for a short time, and then leaves it alone for at least as long."""
        with self._errors():
            if _inode(self._path) != self._inode:
                raise TableError(
                    f"{self._path} was replaced by another file meanwhile; begin again when it is "
                    "ready"
                )
            self._database.execute("BEGIN IMMEDIATE")
            began = self._clock()
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
        took = self._clock() - began
        self.lock_times.append(took)
        self._batch = max(1, self._batch // 2) if took > LONG else min(BATCH, self._batch + 10)
        self._sleep(max(PAUSE, took))

    def _ask(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._errors():
            return self._database.execute(query, values).fetchall()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None)  # some errors are Python's own
            kind = TableLockedError if code and code & 0xFF == sqlite3.SQLITE_BUSY else TableError
            raise kind(f"{self._path}: {error}") from error
        except OSError as error:
            raise TableError(f"{self._path}: {error.strerror}") from error
        except UnicodeError as error:
            raise TableError(f"a name in the recordings folder is no text: {error}") from error


def new_id(start: float) -> str:
    """Returns an id as Frigate makes it."""
    return f"{start}-{''.join(random.choices(LETTERS, k=6))}"


def _inode(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _is_sound(row: Sequence[object]) -> bool:
    path, _, *numbers, _ = row
    return isinstance(path, str) and all(isinstance(one, (int, float)) for one in numbers)
