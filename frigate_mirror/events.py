"""Catalog: Frigate's event table, read-only. The only module that knows Frigate's schema.

The columns are those of Frigate 0.16 to 0.18 (`frigate/models.py`); only the ones used are named,
and any but the few without which there is no snapshot may be missing. Times are Unix seconds as
floats in DATETIME columns. The database belongs to Frigate: it is opened with mode=ro, every read
is one short statement, and a page is at most `batch` rows.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import peewee

log = logging.getLogger("frigate_s3.catalog")
BUSY_SECONDS = 5


class CatalogError(Exception):
    """Frigate's database could not be read; the next try opens it anew."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event as far as the mirror cares. `ended` is None while it goes on; `score` 0 to 1 or
    None; `tracked` tells an object that was tracked from a manual, API or audio event."""

    id: str
    camera: str
    label: str
    sub_label: str
    started: float
    ended: float | None
    score: float | None
    zones: tuple[str, ...]
    has_snapshot: bool
    tracked: bool

    @property
    def picture_is_final(self) -> bool:
        """A tracked object's picture is written just before it ends; the others' at their start."""
        return self.has_snapshot and (self.ended is not None or not self.tracked)


class _Row(peewee.Model):
    """Light twin of Frigate's model; BareField keeps whatever SQLite holds, faults and all."""

    id = peewee.BareField(primary_key=True)
    camera = peewee.BareField()
    label = peewee.BareField()
    sub_label = peewee.BareField()
    start_time = peewee.BareField()
    end_time = peewee.BareField()
    top_score = peewee.BareField()
    zones = peewee.BareField()
    has_snapshot = peewee.BareField()
    data = peewee.BareField()

    class Meta:
        table_name = "event"


_NEEDED = {"id", "camera", "start_time", "has_snapshot"}


class Catalog:
    """Reads `path`. Safe to use from several threads; they take turns."""

    def __init__(self, path: Path, batch: int = 50) -> None:
        self._path = path
        self._batch = batch
        self._turn = threading.Lock()
        self._database: peewee.SqliteDatabase | None = None
        self._columns: list[Any] = []
        self._file: tuple[int, int] | None = None
        self._lost = False

    def event(self, event_id: str) -> Event | None:
        """One event by its id, None if there is no such row. Raises CatalogError."""
        return next(iter(self.events([event_id])), None)

    def events(self, event_ids: Sequence[str]) -> list[Event]:
        """Those of the events that have a row that makes sense. Raises CatalogError."""
        found: list[Event] = []
        for at in range(0, len(event_ids), self._batch):
            some = list(event_ids[at : at + self._batch])
            rows = self._read(lambda query, ids=some: query.where(_Row.id.in_(ids)))
            found += filter(None, map(_event_of, rows))
        return found

    def window(self, since: float, until: float = math.inf) -> Iterator[list[str]]:
        """Ids of all events with a snapshot that started from `since` to before `until`, in pages
        of at most the batch size, oldest first. Raises CatalogError.

        Pages go by (start_time, id) and not by offset, so rows that come and go meanwhile neither
        repeat nor hide another.
        """
        place: tuple[Any, Any] = (since, "")
        while True:
            start, event_id = place
            seen = (_Row.start_time == start) & (_Row.id <= event_id)
            wanted = (_Row.start_time >= start) & ~seen & (_Row.has_snapshot == 1)
            if until != math.inf:
                wanted &= _Row.start_time < until
            rows = self._read(
                lambda query, wanted=wanted: (
                    query.where(wanted).order_by(_Row.start_time, _Row.id).limit(self._batch)
                ),
                [_Row.id, _Row.start_time],
            )
            if rows:
                yield [row["id"] for row in rows if isinstance(row["id"], str)]
            if len(rows) < self._batch:
                return
            place = (rows[-1]["start_time"], rows[-1]["id"])

    def close(self) -> None:
        with self._turn:
            self._close()

    def _read(self, narrow: Any, columns: list[Any] | None = None) -> list[dict[str, Any]]:
        with self._turn:
            try:
                database = self._open()
                with database.bind_ctx([_Row]):
                    query = narrow(_Row.select(*(columns or self._columns)))
                    return list(query.dicts())
            except (peewee.PeeweeException, sqlite3.Error, OSError) as error:
                self._close()
                self._lost = True
                raise CatalogError(f"read {self._path}: {error}") from error
            except CatalogError:
                self._close()
                self._lost = True
                raise

    def _open(self) -> peewee.SqliteDatabase:
        """The open database; opened anew if it was lost or another file stands in its place."""
        status = os.stat(self._path)
        file = (status.st_dev, status.st_ino)
        if self._database is not None and file == self._file:
            return self._database
        again = self._lost or self._database is not None
        self._close()
        # A relative `?` or `#` in the path would end it early in a URI.
        database = _Database(
            f"file:{quote(str(self._path))}?mode=ro",
            uri=True,
            timeout=BUSY_SECONDS,
            check_same_thread=False,
            thread_safe=False,
        )
        self._database, self._file = database, file
        present = {column.name for column in database.get_columns("event")}
        if missing := sorted(_NEEDED - present):
            raise CatalogError(f"read {self._path}: no {', '.join(missing)} in table event")
        self._columns = [f for f in _Row._meta.sorted_fields if f.name in present]
        if again:
            log.info("Successfully reconnected to database %s", self._path)
        self._lost = False
        return database

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
        self._database = None


class _Database(peewee.SqliteDatabase):
    """One text that is no UTF-8 must not make a whole page unreadable."""

    def _connect(self) -> Any:
        connection = super()._connect()
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        return connection


def _event_of(row: dict[str, Any]) -> Event | None:
    """An Event of a row, None for a row that can be none: it is Frigate's to mend."""
    started = _number(row.get("start_time"))
    event_id, camera = row.get("id"), row.get("camera")
    if started is None or not isinstance(event_id, str) or not isinstance(camera, str):
        log.debug("row of event %r is not readable, left alone", event_id)
        return None
    data = _json(row.get("data"), dict)
    score = _number(row.get("top_score"))
    return Event(
        id=event_id,
        camera=camera,
        label=str(row.get("label") or ""),
        sub_label=str(row.get("sub_label") or ""),
        started=started,
        ended=_number(row.get("end_time")),
        score=score if score is not None else _number(data.get("top_score")),
        zones=tuple(map(str, _json(row.get("zones"), list))),
        has_snapshot=bool(row.get("has_snapshot")),
        tracked=data.get("type", "object") == "object",
    )


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _json(text: Any, wanted: type) -> Any:
    """The document in a JSON column, empty where it is none or of another kind."""
    try:
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        value = None
    return value if isinstance(value, wanted) else wanted()
