"""Frigate's event table, read-only, as a catalog of events.

This is the only module that knows Frigate's schema. It names the columns that it uses of Frigate
0.16 to 0.18 (`frigate/models.py`); all but four may be missing. Times are Unix seconds as floats in
DATETIME columns. The database belongs to Frigate: each read opens it with mode=ro, runs one short
statement and closes it, so that Frigate can close it last and write back its log.
"""

from __future__ import annotations

import base64
import json
import logging
import math
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import peewee
from peewee import sqlite3  # type: ignore[attr-defined]  # pysqlite3 where peewee found it

from frigate_mirror.catalog import CatalogError
from frigate_mirror.frigate.events import (
    Event,
    Review,
    event_of,
    finite,
    number,
    with_reviews,
    with_rows,
)
from frigate_mirror.frigate.segments import Segment

log = logging.getLogger("frigate_s3.catalog")
IDS_PER_EVENT = 20  # a page of ids has 20 times as many rows as a page of events
BUSY_SECONDS = 2  # several threads may wait for the database, and Frigate's end does not wait
COLUMNS = ("id", "camera", "label", "sub_label", "start_time", "end_time", "top_score", "score",
           "zones", "has_snapshot", "has_clip", "data")  # fmt: skip
NEEDED = {"id", "camera", "start_time", "has_snapshot"}
# SQLite sorts every text after infinity, so that only numbers pass the comparison with `until`.
WINDOW = """SELECT id, start_time, rowid FROM event
    WHERE start_time >= ?1 AND (start_time, rowid) > (?1, ?2) AND start_time < ?3
      AND (has_snapshot != 0 OR ?5) AND typeof(id) = 'text'
    ORDER BY start_time, rowid LIMIT ?4"""
RECENT = "SELECT count(*), total(has_snapshot != 0) FROM event WHERE start_time >= ?"
ENDED = """SELECT id FROM event
    WHERE start_time >= ?1 AND end_time >= ?2 AND (has_snapshot != 0 OR ?4)
      AND typeof(id) = 'text'
    ORDER BY end_time DESC LIMIT ?3"""
# An event can be in several review items. SQLite reads only items that overlap the events in time.
# One item whose data is no JSON must not keep all events from being read.
REVIEWS = """SELECT detection.value, review.id, review.severity, EXISTS (
        SELECT 1 FROM userreviewstatus AS seen
        WHERE seen.review_segment_id = review.id AND seen.has_been_reviewed)
    FROM reviewsegment AS review,
        json_each(iif(json_valid(review.data), review.data, '{}'), '$.detections') AS detection
    WHERE review.start_time <= ?1 AND (review.end_time IS NULL OR review.end_time >= ?2)
      AND detection.value IN (SELECT value FROM json_each(?3))
    ORDER BY review.start_time, review.id"""
# A segment lasts 10 s, and never an hour. The lower bound lets SQLite use the index.
RECORDINGS = """SELECT path, start_time, end_time FROM recordings
    WHERE camera = ?1 AND start_time <= ?3 AND start_time >= ?2 - 3600 AND end_time >= ?2
      AND typeof(path) = 'text' {condition} ORDER BY start_time"""
LAST_SEEN = "SELECT max(timestamp) FROM timeline WHERE source_id = ? AND class_type = 'gone'"
REVIEWED = """SELECT 1 FROM userreviewstatus AS seen
    JOIN reviewsegment AS review ON review.id = seen.review_segment_id
    WHERE seen.has_been_reviewed AND review.start_time >= ? LIMIT 1"""


class FrigateDatabase:
    """The catalog of Frigate's events. See `catalog.Catalog`."""

    def __init__(
        self,
        path: Path,
        batch: int = 50,
        *,
        reviews: bool = False,
        whole: bool = False,
        without_snapshot: bool = False,
    ) -> None:
        """`batch` is how many events one read fetches. With `reviews` it also reads their review
        items, with `whole` these and everything else that Frigate knows of them. It lists the
        events that have a snapshot, or, with `without_snapshot`, all events."""
        self._path = path
        self._batch = batch
        self._reviews = reviews or whole
        self._whole = whole
        self._without_snapshot = without_snapshot
        self._database = Database(
            f"file://{quote(os.fsencode(path))}?mode=ro", uri=True, timeout=BUSY_SECONDS
        )
        self._failed = False

    def subjects(self, ids: Sequence[str]) -> list[Event]:
        """Returns the events with these ids whose rows make sense. Raises CatalogError."""
        events: list[Event] = []
        for at in range(0, len(ids), self._batch):
            some = ids[at : at + self._batch]
            with self._reading() as ask:
                ask("BEGIN")  # so that all tables are read as of one moment
                present = _present(ask)
                names = ", ".join(name if name in present else "NULL" for name in COLUMNS)
                marks = ", ".join("?" * len(some))
                rows = ask(f"SELECT {names} FROM event WHERE id IN ({marks})", some)
                found = (event_of(dict(zip(COLUMNS, row, strict=True))) for row in rows)
                page = list(filter(None, found))
                if self._reviews and page:
                    page = with_reviews(page, _reviews(page, ask))
                events += _with_rows(page, ask) if self._whole and page else page
        return events

    def window(self, since: float, until: float = math.inf) -> Iterator[list[str]]:
        """See `Catalog.window`. The oldest event comes first. Raises CatalogError.

        A page begins after the last row of the page before, so that rows which come and go
        meanwhile neither repeat nor hide another.
        """
        after, page = (since, -(2**63)), IDS_PER_EVENT * self._batch
        while True:
            with self._reading() as ask:
                rows = ask(WINDOW, (*after, until, page, self._without_snapshot))
            if rows:
                yield [row[0] for row in rows]
            if len(rows) < page:
                return
            after = rows[-1][1:]

    def ended_since(self, ended: float, since: float, most: int) -> list[str]:
        """See `Catalog.ended_since`. Raises CatalogError."""
        with self._reading() as ask:
            if "end_time" not in _present(ask):
                return []
            values = (since, ended, most, self._without_snapshot)
            return [event_id for (event_id,) in ask(ENDED, values)]

    def recordings(self, camera: str, since: float, until: float) -> list[Segment]:
        """Returns the segments of the camera's main stream that overlap this span, in order. Raises
        CatalogError."""
        with self._reading() as ask:
            columns = {name for _, name, *_ in ask("PRAGMA table_info(recordings)")}
            condition = "AND stream_type = 'main'" if "stream_type" in columns else ""
            rows = ask(RECORDINGS.format(condition=condition), (camera, since, until))
        numbers = ((path, number(start), number(end)) for path, start, end in rows)
        return [
            Segment(path, start, end)
            for path, start, end in numbers
            if start is not None and end is not None and "\0" not in path
        ]

    def last_seen(self, event_id: str) -> float | None:
        """Returns when Frigate last saw the event's object, or None if it noted no such time.
        Raises CatalogError."""
        with self._reading() as ask:
            [(at,)] = ask(LAST_SEEN, (event_id,))
        return number(at)

    def thumbnail(self, event_id: str) -> bytes:
        """Returns the thumbnail that lies in the event's row, or nothing. Raises CatalogError."""
        with self._reading() as ask:
            if not any(name == "thumbnail" for _, name, *_ in ask("PRAGMA table_info(event)")):
                return b""
            rows = ask("SELECT thumbnail FROM event WHERE id = ?", (event_id,))
        try:
            return base64.b64decode(rows[0][0] or "", validate=True) if rows else b""
        except (ValueError, TypeError):
            return b""

    def recent(self, since: float) -> tuple[int, int]:
        """Returns how many events started from `since` on, and how many of them have a snapshot.
        Raises CatalogError."""
        with self._reading() as ask:
            [(events, with_snapshot)] = ask(RECENT, (since,))
        return events, int(with_snapshot)

    def any_review_since(self, since: float) -> bool:
        """Returns whether anyone has reviewed an item that started from `since` on. Raises
        CatalogError."""
        with self._reading() as ask:
            return bool(ask(REVIEWED, (since,)))

    @contextmanager
    def _reading(self) -> Iterator[_Ask]:
        """Opens the database for one read, with a connection for this thread alone."""
        try:
            if not stat.S_ISREG(os.stat(self._path).st_mode):
                raise _Unfit("not a regular file")
            with self._database.connection_context():
                connection = self._database.connection()  # type: ignore[no-untyped-call]
                yield lambda query, values=(): connection.execute(query, values).fetchall()
        # peewee wraps some of SQLite's errors, not all.
        except (peewee.PeeweeException, sqlite3.Error, OSError, _Unfit) as error:
            self._failed = True
            raise CatalogError(f"read {self._path}: {error}") from error
        if self._failed:
            self._failed = False
            log.info("Successfully reconnected to database %s", self._path)


_Ask = Callable[..., list[tuple[Any, ...]]]


class _Unfit(Exception):
    """The file is not a database of Frigate."""


class Database(peewee.SqliteDatabase):
    """Reads a text that is no UTF-8 with replacement characters, so that it does not make a whole
    page unreadable."""

    def _connect(self) -> Any:
        connection = super()._connect()
        connection.text_factory = partial(str, encoding="utf-8", errors="replace")
        return connection


def _present(ask: _Ask) -> frozenset[str]:
    """Returns which of our columns the table has. Raises _Unfit if a needed one is missing."""
    present = frozenset(name for _, name, *_ in ask("PRAGMA table_info(event)"))
    if missing := sorted(NEEDED - present):
        raise _Unfit(f"no {', '.join(missing)} in table event")
    return present.intersection(COLUMNS)


def _reviews(events: list[Event], ask: _Ask) -> Iterator[tuple[str, Review]]:
    """Yields the review items that contain these events, each with the event's id."""
    until = max(math.inf if event.ended is None else event.ended for event in events)
    ids = json.dumps([event.id for event in events])
    for event_id, name, severity, seen in ask(
        REVIEWS, (until, min(event.started for event in events), ids)
    ):
        yield event_id, Review(str(name), str(severity), bool(seen))


def _with_rows(events: list[Event], ask: _Ask) -> list[Event]:
    """Completes the events with all columns of their rows and with their timeline."""
    ids = [event.id for event in events]
    rows = {row["id"]: row for row in _whole_rows(ask, "event", "id", ids, leave_out="thumbnail")}
    return with_rows(events, rows, _whole_rows(ask, "timeline", "source_id", ids))


def _whole_rows(
    ask: _Ask, table: str, key: str, ids: list[str], leave_out: str = ""
) -> list[dict[str, Any]]:
    """Returns the rows whose column `key` is one of `ids`, with whatever columns this version of
    Frigate has. A column that is declared as JSON becomes a document."""
    declared = {name: str(kind).upper() for _, name, kind, *_ in ask(f"PRAGMA table_info({table})")}
    names = sorted(declared.keys() - {leave_out})
    if key not in names:
        return []
    quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
    marks = ", ".join("?" * len(ids))
    rows = ask(f"SELECT {quoted} FROM {table} WHERE {key} IN ({marks})", ids)
    return [
        {
            name: _document(value) if declared[name] == "JSON" else _plain(value)
            for name, value in zip(names, row, strict=True)
        }
        for row in rows
    ]


def _document(value: Any) -> Any:
    """Returns the document in a JSON column, or what else stands there."""
    try:
        return json.loads(value, parse_constant=str, parse_float=finite)
    except (TypeError, ValueError, RecursionError):
        return _plain(value)


def _plain(value: Any) -> Any:
    """Returns a value that JSON can express."""
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
