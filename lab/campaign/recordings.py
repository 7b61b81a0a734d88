"""What the campaign's Frigate has recorded, and which of it somebody has deleted since."""

from __future__ import annotations

import hashlib
import os
import random
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

Span = tuple[float, float]
"""From when until when, in Unix seconds."""


@dataclass(frozen=True)
class Segment:
    """One recording file. `stored` is when it was written, in Unix seconds."""

    camera: str
    path: Path
    start: float
    end: float
    stored: float
    sha256: str

    @property
    def span(self) -> Span:
        return (self.start, self.end)


class Recordings:
    """The segments in Frigate's `database`. A segment is known once `look` has seen it, and stays
    known when it is deleted."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._known: dict[Path, Segment] = {}
        self._deleted: set[Path] = set()

    def look(self) -> list[Segment]:
        """Returns the segments that exist now."""
        with closing(self._open()) as database:
            rows = database.execute(
                "SELECT camera, path, start_time, end_time FROM recordings"
            ).fetchall()
        for camera, name, start, end in rows:
            path = Path(name)
            if path not in self._known and path not in self._deleted:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                stored = path.stat().st_mtime
                self._known[path] = Segment(camera, path, start, end, stored, digest)
        return [one for one in self._known.values() if one.path not in self._deleted]

    def of(self, camera: str, *, deleted: bool) -> list[Segment]:
        """Returns the camera's segments; with `deleted` also those that exist no longer."""
        found = [one for one in self._known.values() if one.camera == camera]
        return [one for one in found if deleted or one.path not in self._deleted]

    def take(self, wanted: Callable[[Segment], bool], rng: random.Random) -> int:
        """Deletes segments as Frigate's retention does, file first or row first, and sometimes
        forgets the row. Returns how many."""
        taken = [one for one in self.look() if wanted(one)]
        for segment in taken:
            self._deleted.add(segment.path)
            steps = [lambda one=segment: one.path.unlink()]
            if rng.random() < 0.8:
                steps.append(lambda one=segment: self._forget(one))
            rng.shuffle(steps)
            for step in steps:
                step()
        return len(taken)

    def _forget(self, segment: Segment) -> None:
        with closing(self._open()) as database, database:
            database.execute("DELETE FROM recordings WHERE path = ?", (os.fspath(segment.path),))

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self._database}?mode=rw", uri=True, timeout=20)


def without(spans: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """Returns what is left of `spans` without `others`."""
    left = list(spans)
    for start, end in others:
        pieces = [(one, min(other, start)) for one, other in left]
        pieces += [(max(one, end), other) for one, other in left]
        left = [(one, other) for one, other in pieces if one < other]
        left = _merged(left)
    return _merged(left)


def within(spans: Iterable[Span], start: float, end: float) -> list[Span]:
    """Returns the parts of `spans` that lie between `start` and `end`."""
    cut = ((max(one, start), min(other, end)) for one, other in spans)
    return _merged([(one, other) for one, other in cut if one < other])


def seconds(spans: Iterable[Span]) -> float:
    return sum(end - start for start, end in _merged(list(spans)))


def _merged(spans: list[Span]) -> list[Span]:
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found
