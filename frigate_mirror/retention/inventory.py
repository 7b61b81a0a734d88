"""Inventory: the events at the destination, made of a listing.

The files of an event are found by the camera and the event id in their keys. Objects with other
keys than the mirror's are foreign: they are counted and left alone. A million objects take 300 MB,
so the inventory lies in a temporary SQLite file, and memory stays flat. Nothing of it is needed
after the run.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from frigate_mirror.keys import METADATA, KeyCodec, KeyFault
from frigate_mirror.retention.errors import RetentionError, Stopped
from frigate_mirror.sinks.sink import Stored

PAGE = 1_000  # events
LARGEST = 2**53  # bytes; a larger size in a listing is a fault in the data
EARLIEST = 1_514_764_800  # 2018-01-01; an earlier event is one of a clock that was wrong
_SCHEMA = """
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA cache_size = -16000;
    CREATE TABLE files (
        camera TEXT, event_id TEXT, key TEXT, started INTEGER, is_document INTEGER, size INTEGER,
        tag TEXT,
        PRIMARY KEY (camera, event_id, key)
    ) WITHOUT ROWID;
    CREATE TABLE events (
        started INTEGER, camera TEXT, event_id TEXT, files INTEGER, size INTEGER,
        documents INTEGER, rule TEXT NOT NULL DEFAULT '', kept INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (started, camera, event_id)
    ) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Event:
    """An event at the destination. `started` is the latest time in the keys of its files, so that
    nobody who may only put can make it older. `files` is their number, `size` their bytes, and
    `documents` says how many of them are JSON: one, or none."""

    started: int
    camera: str
    id: str
    files: int
    size: int
    documents: int

    @property
    def name(self) -> tuple[str, str]:
        return self.camera, self.id


@dataclass(frozen=True, slots=True)
class Document:
    """The JSON of an event in the listing. `tag` changes with its content: it is the ETag, or the
    time of its last change and its size."""

    key: str
    size: int
    tag: str


@dataclass(frozen=True, slots=True)
class Totals:
    """Numbers of events, of their objects and of their bytes."""

    events: int = 0
    objects: int = 0
    bytes: int = 0

    def with_event(self, event: Event) -> Totals:
        return Totals(self.events + 1, self.objects + event.files, self.bytes + event.size)


class Inventory:
    """The events of one listing, in the file `path`, which is made anew and deleted by `close`. All
    methods raise RetentionError if the file cannot be written, because the disk is full."""

    def __init__(self, path: Path) -> None:
        self.foreign = 0
        self._path = path
        try:
            path.unlink(missing_ok=True)
            self._sql = sqlite3.connect(path, isolation_level=None)
            self._sql.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise self._failure(error) from error

    def close(self) -> None:
        self._sql.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def fill(
        self, listing: Iterable[Stored], keys: KeyCodec, stop: Callable[[], bool] = lambda: False
    ) -> None:
        """Reads the whole listing. Raises its SinkError, and Stopped."""

        def rows() -> Iterator[tuple[object, ...]]:
            for number, stored in enumerate(listing):
                if number % PAGE == 0 and stop():
                    raise Stopped
                try:
                    parts = keys.parse(stored.key)
                    (stored.key + parts.camera).encode()  # SQLite keeps no lone surrogates
                except (KeyFault, UnicodeEncodeError):
                    self.foreign += 1
                    continue
                yield (
                    parts.camera, parts.event_id, stored.key, parts.started,
                    parts.kind == METADATA, min(max(stored.size, 0), LARGEST),
                    stored.etag or f"{stored.modified!r} {stored.size}",
                )  # fmt: skip

        try:
            self._sql.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", rows()
            )
            # The groups come in the order of the primary key, so nothing is sorted.
            self._ask(
                """INSERT INTO events (started, camera, event_id, files, size, documents)
                   SELECT max(started), camera, event_id, count(*), sum(size), sum(is_document)
                   FROM files GROUP BY camera, event_id"""
            )
        except sqlite3.Error as error:
            raise self._failure(error) from error

    # -- what is there

    def all(self) -> Totals:
        """Returns the totals of all events."""
        return self._totals("SELECT count(*), sum(files), sum(size) FROM events")

    def without_document(self) -> int:
        """Returns the number of events that have no JSON."""
        return self._number("SELECT count(*) FROM events WHERE documents = 0")

    def misdated(self) -> int:
        """Returns the number of events that start before there was a Frigate."""
        return self._number("SELECT count(*) FROM events WHERE started < ?", EARLIEST)

    def newest(self) -> Event | None:
        found = self._ask(f"{_EVENT} ORDER BY started DESC LIMIT 1").fetchone()
        return Event(*found) if found else None

    def oldest(self) -> Event | None:
        found = self._ask(f"{_EVENT} WHERE started >= ? ORDER BY started LIMIT 1", (EARLIEST,))
        row = found.fetchone()
        return Event(*row) if row else None

    def has_camera(self, camera: str) -> bool:
        return bool(self._ask("SELECT 1 FROM files WHERE camera = ? LIMIT 1", (camera,)).fetchone())

    def pages(self, *, due: bool = False) -> Iterator[list[Event]]:
        """Yields the events that are due, oldest first, or those of which nothing is decided and
        that have a possible date. What is decided meanwhile changes only what follows."""
        after: tuple[int, str, str] = (EARLIEST, "", "")
        which = "rule != ''" if due else "rule = '' AND NOT kept"
        while True:
            rows = self._ask(
                f"""{_EVENT} WHERE (started, camera, event_id) > (?, ?, ?) AND {which}
                    ORDER BY started, camera, event_id LIMIT {PAGE}""",
                after,
            ).fetchall()
            if not rows:
                return
            page = [Event(*row) for row in rows]
            yield page
            after = page[-1].started, *page[-1].name

    def find(self, camera: str, event_id: str) -> Event | None:
        """Returns the event of this name, or None if there is none or if it is due already."""
        started = self._ask(
            "SELECT max(started) FROM files WHERE camera = ? AND event_id = ?", (camera, event_id)
        ).fetchone()[0]
        found = self._ask(
            f"""{_EVENT} WHERE started = ? AND camera = ? AND event_id = ? AND rule = ''""",
            (started, camera, event_id),
        ).fetchone()
        return Event(*found) if found else None

    def document(self, event: Event) -> Document | None:
        """Returns the JSON of an event."""
        found = self._ask(
            """SELECT key, size, tag FROM files
               WHERE camera = ? AND event_id = ? AND is_document ORDER BY key DESC LIMIT 1""",
            event.name,
        ).fetchone()
        return Document(*found) if found else None

    # -- what is decided

    def keep(self, event: Event) -> None:
        """Notes that an event is kept whatever else is decided."""
        self._ask(
            "UPDATE events SET kept = 1 WHERE started = ? AND camera = ? AND event_id = ?",
            (event.started, *event.name),
        )

    def mark(self, event: Event, rule: str) -> None:
        """Notes that an event is due, by which rule."""
        self._ask(
            "UPDATE events SET rule = ? WHERE started = ? AND camera = ? AND event_id = ?",
            (rule, event.started, *event.name),
        )

    def files(self, event: Event) -> tuple[list[str], list[str]]:
        """Returns the keys of an event's files, and those of its JSON."""
        rows = self._ask(
            "SELECT key, is_document FROM files WHERE camera = ? AND event_id = ?", event.name
        ).fetchall()
        return [key for key, last in rows if not last], [key for key, last in rows if last]

    def batches(self, objects: int) -> Iterator[Sequence[Event]]:
        """Yields the events that are due, oldest first, in batches of at most so many `objects`, or
        of one event."""
        batch: list[Event] = []
        room = objects
        for page in self.pages(due=True):
            for event in page:
                if batch and event.files > room:
                    yield batch
                    batch, room = [], objects
                batch.append(event)
                room -= event.files
        if batch:
            yield batch

    def _ask(self, query: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        try:
            return self._sql.execute(query, values)
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> RetentionError:
        return RetentionError(
            f"keep the listing in {self._path}: {error}; free space there, about 300 MB for a "
            "million objects"
        )

    def _totals(self, query: str) -> Totals:
        return Totals(*(number or 0 for number in self._ask(query).fetchone()))

    def _number(self, query: str, *values: object) -> int:
        return int(self._ask(query, values).fetchone()[0])


_EVENT = "SELECT started, camera, event_id, files, size, documents FROM events"
