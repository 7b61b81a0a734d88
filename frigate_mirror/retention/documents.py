"""Reads what the JSON of events says of them, as far as the retention has to know it.

Whoever may put to the destination can put any bytes there, so a document has a limit for its size
and each value is checked. What makes no sense is a fault, and its event is kept. What was read is
cached in an SQLite file by the tag of the document. The file is disposable: without it the
documents are read again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frigate_mirror.policy import Facts
from frigate_mirror.retention.errors import RetentionError
from frigate_mirror.retention.inventory import Document, Event, Inventory
from frigate_mirror.sinks.sink import Archive, Rejected, SinkError
from frigate_mirror.untrusted import plain, shaped

SCHEMA = "event/1"
LARGEST = 1 << 20  # bytes of a document; usual ones have a few thousand
THREADS = 4  # few, because in a companion its uploads use the same line
GONE = "it has vanished since it was listed"
_TABLE = """
    PRAGMA synchronous = OFF;
    CREATE TABLE IF NOT EXISTS documents (
        key TEXT PRIMARY KEY, tag TEXT, camera TEXT, label TEXT, severity TEXT, retained INTEGER,
        fault TEXT, used INTEGER
    ) WITHOUT ROWID;
    UPDATE documents SET used = 0;
"""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A document that cannot be used, and why."""

    why: str


Found = Facts | Unreadable


class Documents:
    """The documents of the events in `inventory`. `path` is the file of the cache."""

    def __init__(self, archive: Archive, inventory: Inventory, path: Path) -> None:
        self._archive = archive
        self._inventory = inventory
        self._path = path
        self._cache = self._opened()
        self.read = 0  # documents, without those that the cache has

    def close(self) -> None:
        """Forgets what this run did not need, and closes the cache."""
        try:
            self._cache.execute("DELETE FROM documents WHERE NOT used")
            self._cache.commit()
        except sqlite3.Error:
            self._path.unlink(missing_ok=True)
        self._cache.close()

    def facts(self, events: Iterable[Event]) -> dict[Event, Found]:
        """Returns what is known of each event that has a JSON. Raises a SinkError if the
        destination does not answer, or allows no reading."""
        listed = {
            event: document
            for event in events
            if event.documents and (document := self._inventory.document(event)) is not None
        }
        found: dict[Event, Found] = {}
        for event, document in listed.items():
            known = self._known(document)
            if known is not None:
                found[event] = known
        new = [event for event in listed if event not in found]
        for event, facts in self._read_all({event: listed[event] for event in new}).items():
            found[event] = facts
            self._keep(listed[event], facts)
        self._commit()
        return found

    def _read_all(self, wanted: Mapping[Event, Document]) -> dict[Event, Found]:
        self.read += len(wanted)
        with ThreadPoolExecutor(THREADS) as pool:
            reading = {one: pool.submit(self._read, one, wanted[one]) for one in wanted}
            try:
                return {event: done.result() for event, done in reading.items()}
            except SinkError:
                pool.shutdown(cancel_futures=True)
                raise

    def _read(self, event: Event, document: Document) -> Found:
        if document.size > LARGEST:
            return Unreadable(f"it has more than {LARGEST:,} bytes")
        try:
            data = self._archive.read(document.key, LARGEST)
        except Rejected as error:
            return Unreadable(plain(str(error), 200))
        if data is None:
            return Unreadable(GONE)
        try:
            return facts_of(data, event.id)
        except ValueError as fault:
            return Unreadable(plain(str(fault), 200))

    # -- the cache

    def _opened(self) -> sqlite3.Connection:
        """Opens the cache, and makes a new one if it is damaged."""
        for _ in range(2):
            cache = sqlite3.connect(self._path)
            try:
                cache.executescript(_TABLE)
                return cache
            except sqlite3.Error as error:
                fault = error
                cache.close()
                self._path.unlink(missing_ok=True)
        raise RetentionError(f"keep what was read in {self._path}: {fault}; free space there")

    def _known(self, document: Document) -> Found | None:
        try:
            row = self._cache.execute(
                """UPDATE documents SET used = 1 WHERE key = ? AND tag = ?
                   RETURNING camera, label, severity, retained, fault""",
                (document.key, document.tag),
            ).fetchone()
        except sqlite3.Error:
            return None  # it is damaged, so the document is read again
        if row is None:
            return None
        return Unreadable(row[4]) if row[4] else Facts(row[0], row[1], row[2], bool(row[3]))

    def _keep(self, document: Document, found: Found) -> None:
        if found == Unreadable(GONE):
            return
        if isinstance(found, Unreadable):
            row: tuple[Any, ...] = ("", "", "", 0, found.why)
        else:
            row = (found.camera, found.label, found.severity, found.retained, "")
        try:
            self._cache.execute(
                "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, 1)",
                (document.key, document.tag, *row),
            )
        except sqlite3.Error:
            pass  # a cache that cannot be written only costs time

    def _commit(self) -> None:
        try:
            self._cache.commit()
        except sqlite3.Error:
            pass


def facts_of(data: bytes, event_id: str) -> Facts:
    """Returns what the JSON of an event says. Raises ValueError, which says why it cannot be
    used."""
    try:
        document = json.loads(data)
        found = shaped(document, _Whole)
        row = found["table"]["event"]
        kept = document["table"]["event"].get("retain_indefinitely")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if found["schema"] != SCHEMA:
        raise ValueError(f"its schema is not {SCHEMA}")
    if row["id"] != event_id:
        raise ValueError("it is about another event")
    if kept not in (None, 0, 1):  # also false and true
        raise ValueError("retain_indefinitely is neither true nor false")
    severities = [review["severity"] for review in found["reviews"]]
    severity = (row["data"] or {}).get("max_severity") or ""
    if severities:
        severity = "alert" if "alert" in severities else "detection"
    (row["camera"] + row["label"] + severity).encode()  # raises for lone surrogates
    return Facts(row["camera"], row["label"], severity, bool(kept))


@dataclass
class _Data:
    max_severity: str | None


@dataclass
class _Row:
    id: str
    camera: str
    label: str
    data: _Data | None


@dataclass
class _Table:
    event: _Row


@dataclass
class _Review:
    severity: str


@dataclass
class _Whole:
    """What is read of a document; docs/event-1.schema.json has all of it."""

    schema: str
    table: _Table
    reviews: list[_Review]
