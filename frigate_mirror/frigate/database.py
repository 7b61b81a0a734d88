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
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import peewee
from peewee import sqlite3  # type: ignore[attr-defined]  # pysqlite3 where peewee found it

log = logging.getLogger("frigate_s3.catalog")
PAGES_AT_ONCE = 20  # between two looks whether the database is still the same
CACHE_KB, LET_GO_WITHIN = 512, 1  # of pages while it is open; seconds
BUSY_SECONDS = 2  # several threads may wait for it in turn, and Frigate's end does not wait


class CatalogError(Exception):
    """Frigate's database could not be read; it is opened anew for each try."""


class _Unfit(Exception):
    """What lies there is no database of Frigate's."""


@dataclass(frozen=True, slots=True)
class Event:
    """`ended` is None while it goes on; `score` 0 to 1 or None; `tracked` tells an object that was
    tracked from a manual, API or audio event."""

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


def _page(place: Any, *order: Any) -> tuple[str, list[Any]]:
    """The query for one page of `Catalog.window` and its values, some of which are still to be
    filled in: building it costs more than running it."""
    snapshot = (_Row.has_snapshot != 0) & (peewee.fn.typeof(_Row.id) == "text")
    query = (
        _Row.select(_Row.id.cast("BLOB"), _Row.start_time, peewee.SQL("rowid"))
        .where(place & snapshot)
        .order_by(*order)
        .limit(_BATCH)
    )
    text: str
    text, values = query.sql()
    return text, values


def _given(values: list[Any], **given: Any) -> list[Any]:
    """The values of a page's query, filled in."""
    words = {f"<{word}>": value for word, value in given.items()}
    return [words.get(value, value) for value in values]


@lru_cache(maxsize=128)
def _events_with(columns: frozenset[str], count: int) -> str:
    """The query for so many events by their ids, NULL for what is not among `columns`."""
    missing = peewee.SQL("NULL")
    fields = [getattr(_Row, name) if name in columns else missing for name in _COLUMNS]
    text: str
    text, _ = _Row.select(*fields).where(_Row.id.in_(["?"] * count)).sql()
    return text


_Place = tuple[float, int | None]
"""From which start on the window is still to be read; or of just that start, after which rowid."""
_COLUMNS = tuple(_Row._meta.sorted_field_names)
_NEEDED = {"id", "camera", "start_time", "has_snapshot"}
_SINCE, _PLACE, _UNTIL, _BATCH = (f"<{word}>" for word in ("since", "place", "until", "batch"))
_ROWID = peewee.SQL("rowid")
# To SQLite every text is greater than infinity, so only numbers pass. Not by rowid too: it would
# sort what its index of the times has sorted already, at a third of the price of all.
_PAGE = _page((_Row.start_time >= _SINCE) & (_Row.start_time < _UNTIL), _Row.start_time)
_PAGE_OF_A_MOMENT = _page((_Row.start_time == _SINCE) & (_ROWID > _PLACE), _ROWID)
_ENDED = _page((_Row.start_time >= _SINCE) & (_Row.end_time >= _UNTIL), _Row.end_time.desc())


class Catalog:
    """Reads `path`. Safe to use from several threads; they take turns."""

    def __init__(self, path: Path, batch: int = 50) -> None:
        self._path = path
        self._batch = batch
        self._turn = threading.Lock()
        self._database = _Database(
            f"file://{quote(os.fsencode(path))}?mode=ro",
            pragmas={"cache_size": -CACHE_KB},
            uri=True,
            timeout=BUSY_SECONDS,
            check_same_thread=False,
            thread_safe=False,
        )
        self._file: tuple[int, int] | None = None
        self._columns: frozenset[str] = frozenset()
        self._lost = False
        self._stays_open = False

    def stay_open(self) -> None:
        """Keep the database open between reads, until `let_go`: opening it is dear."""
        self._stays_open = True

    def let_go(self) -> None:
        """Frigate is about to close its own: were ours open then, the WAL would stay, and whoever
        copies the file would miss the last rows. Whoever is reading closes it when done."""
        self._stays_open = False
        if self._turn.acquire(timeout=LET_GO_WITHIN):
            with suppress(peewee.PeeweeException, sqlite3.Error):
                self._database.close()
            self._turn.release()

    def event(self, event_id: str) -> Event | None:
        """One event by its id, None if there is no such row. Raises CatalogError."""
        return next(iter(self.events([event_id])), None)

    def events(self, event_ids: Sequence[str]) -> list[Event]:
        """Those of the events that have a row that makes sense. Raises CatalogError."""
        found: list[Event] = []
        for at in range(0, len(event_ids), self._batch):
            some = list(event_ids[at : at + self._batch])
            with self._reading():
                rows = self._ask(_events_with(self._columns, len(some)), some)
            found += filter(None, map(_event_of, rows))
        return found

    def window(self, since: float, until: float = math.inf) -> Iterator[list[str]]:
        """Ids of all events with a snapshot that started from `since` to before `until`, oldest
        first, in lists of some pages each. Raises CatalogError.

        Pages go by start_time and not by offset, so rows that come and go meanwhile neither repeat
        nor hide another. An id could not mark the place: it may be no UTF-8.
        """
        place: _Place | None = (since, None)
        while place:
            found: list[str] = []
            with self._reading():
                for _ in range(PAGES_AT_ONCE):
                    rows, place = self._page_at(place, until)
                    # As bytes, since the connection's own way to a text is a slow one.
                    found += [str(row[0], "utf-8", "replace") for row in rows]
                    if not place:
                        break
            if found:
                yield found

    def ended_since(self, ended: float, since: float, most: int) -> list[str]:
        """Ids of the events with a snapshot that started from `since` on and ended from `ended` on,
        `most` of them at the most, those that ended last. Raises CatalogError."""
        with self._reading():
            if "end_time" not in self._columns:
                return []
            query, values = _ENDED
            rows = self._ask(query, _given(values, since=since, until=ended, batch=most))
            return [str(row[0], "utf-8", "replace") for row in rows]

    def _page_at(self, place: _Place, until: float) -> tuple[list[Any], _Place | None]:
        """The window's next rows, which are (id, start_time, rowid), and where it goes on."""
        since, after = place
        query, values = _PAGE if after is None else _PAGE_OF_A_MOMENT
        given = _given(values, since=since, place=after, until=until, batch=self._batch)
        rows = self._ask(query, given)
        full = len(rows) == self._batch
        if after is not None:
            return rows, (since, rows[-1][2]) if full else (math.nextafter(since, math.inf), None)
        if not full:
            return rows, None
        last = rows[-1][1]
        whole = [row for row in rows if row[1] != last]  # of the last moment there may be more
        return (whole, (last, None)) if whole else ([], (last, -(2**63)))

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """The database is open, for a few short reads at most."""
        with self._turn:
            good = False
            try:
                try:
                    self._open()
                    yield
                    good = True
                finally:
                    if not (good and self._stays_open):
                        self._database.close()
            # Not every error of SQLite comes wrapped in one of peewee's.
            except (peewee.PeeweeException, sqlite3.Error, OSError, _Unfit) as error:
                self._lost = True
                raise CatalogError(f"read {self._path}: {error}") from error

    def _open(self) -> None:
        if self._is_another_file():
            self._lost = True
            self._database.close()
        if self._database.is_closed():
            self._database.connect()
            self._columns = frozenset()
        if len(self._columns) < len(_COLUMNS):  # one may have come back; to lose one is an error
            self._columns = self._present()
        if self._lost:
            log.info("Successfully reconnected to database %s", self._path)
            self._lost = False

    def _ask(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        # Past peewee's own way to run it, which costs more than running it.
        connection = self._database.connection()  # type: ignore[no-untyped-call]
        return list(connection.execute(query, values))

    def _is_another_file(self) -> bool:
        """Whether another one lies there by now. Raises OSError and _Unfit."""
        found = os.stat(self._path)
        if not stat.S_ISREG(found.st_mode):
            raise _Unfit("no regular file")
        before, self._file = self._file, (found.st_dev, found.st_ino)
        return before not in (None, self._file)

    def _present(self) -> frozenset[str]:
        """Those of our columns that the table has."""
        present = frozenset(name for _, name, *_ in self._ask("PRAGMA table_info(event)"))
        if missing := sorted(_NEEDED - present):
            raise _Unfit(f"no {', '.join(missing)} in table event")
        return present.intersection(_COLUMNS)


class _Database(peewee.SqliteDatabase):
    """One text that is no UTF-8 must not make a whole page unreadable."""

    def _connect(self) -> Any:
        connection = super()._connect()
        connection.text_factory = partial(str, encoding="utf-8", errors="replace")
        return connection


def _event_of(row: tuple[Any, ...]) -> Event | None:
    """An Event of the values of `_COLUMNS`, None for a row that can be none: it is Frigate's to
    mend."""
    event_id, camera, label, sub_label, start, end, top_score, zones, has_snapshot, more = row
    started = _number(start)
    if started is None or not isinstance(event_id, str) or not isinstance(camera, str):
        log.debug("row of event %r is not readable, left alone", event_id)
        return None
    data = _json(more, dict)
    score = _number(top_score)
    return Event(
        id=event_id,
        camera=camera,
        label=str(label or ""),
        sub_label=str(sub_label or ""),
        started=started,
        ended=_number(end),
        score=score if score is not None else _number(data.get("top_score")),
        zones=tuple(map(str, _json(zones, list))),
        has_snapshot=bool(has_snapshot),
        tracked=data.get("type", "object") == "object",
    )


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _json(text: Any, wanted: type) -> Any:
    """The document in a JSON column, empty where it is none or of another kind."""
    try:
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        value = None
    return value if isinstance(value, wanted) else wanted()
