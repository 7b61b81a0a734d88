"""A folder that looks like Frigate's, with the mirror's own files in it.

A measurement can bring it back to a saved state as often as it needs."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from tests.rig.event_table import INSERT, TABLE, add_recording

DAY = 86_400.0
CAMERAS = ("front_door", "garden", "garage", "street")
DATA = '{"type": "object", "top_score": 0.83, "score": 0.8, "box": [0.1, 0.2, 0.3, 0.4]}'
POOL = random.Random(7).randbytes(1 << 20)


class Event:
    """The `number`-th event. Its times are Unix seconds."""

    def __init__(self, number: int, started: float, ended: float) -> None:
        self.id = f"{started:.6f}-{number:06x}"
        self.camera = CAMERAS[number % len(CAMERAS)]
        self.started, self.ended = started, ended

    @property
    def key(self) -> str:
        at = datetime.fromtimestamp(int(self.started), UTC)
        return f"{self.camera}/{at:%Y-%m-%d}/{self.id}-{at:%Y%m%d_%H%M%S}.jpg"

    @property
    def row(self) -> tuple[object, ...]:
        return self.id, self.camera, self.started, self.ended, DATA


def past(count: int, now: float, offset: int = 0) -> Iterator[Event]:
    """Events spread evenly over the days from the sixth before `now` to the first."""
    for number in range(count):
        started = now - 6 * DAY + 5 * DAY * number / count
        yield Event(offset + number, started, started + 10)


def recent(count: int, now: float, offset: int = 0) -> Iterator[Event]:
    """Events of the last hour that ended too long ago to count as live."""
    for number in range(count):
        started = now - 3600 + 2400 * number / count
        yield Event(offset + number, started, started + 10)


class House:
    """`clips`, `database` and the mirror's `state` in `folder`.

    `restore` brings the mirror's files back to what they were at `save`, and nothing else. Pictures
    are linked and not copied."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clips, self.state = folder / "clips", folder / "state"
        self.cache, self.saved = self.clips / "cache", folder / "saved"
        self.uploaded, self.spool = self.cache / ".s3_uploaded_events", self.cache / ".s3_spool"
        self.cache.mkdir(parents=True)
        self.state.mkdir()
        self.database = folder / "frigate.db"
        self._sql = sqlite3.connect(self.database, isolation_level=None)
        self._sql.execute("PRAGMA journal_mode = WAL")
        self._sql.executescript(TABLE)
        self._passing: list[Event] = []

    @property
    def environ(self) -> dict[str, str]:
        return {"FRIGATE_DB_PATH": str(self.database), "FRIGATE_CLIPS_DIR": str(self.clips),
                "MIRROR_STATE_DIR": str(self.state), "MIRROR_SPOOL_LIMIT_MB": "100000"}  # fmt: skip

    def picture(self, event: Event, source: Path) -> None:
        os.link(source, self.clips / f"{event.camera}-{event.id}.jpg")

    def rows(self, events: Iterable[Event]) -> None:
        """Commits a row for each event."""
        self._sql.execute("BEGIN")
        self._sql.executemany(INSERT, (event.row for event in events))
        self._sql.execute("COMMIT")

    def record(self, camera: str, start: int, seconds: float, source: Path) -> None:
        """Adds a recording that begins at `start`."""
        add_recording(self._sql, self.folder, camera, start, seconds, source)

    def live(self, number: int, source: Path) -> Event:
        """Makes an event that ends now, with its picture and its row, as they are when Frigate's
        handler returns. `restore` removes it."""
        now = time.time()
        event = Event(number, now, now)
        self.picture(event, source)
        self.rows([event])
        self._passing.append(event)
        return event

    def known(self, events: Iterable[Event]) -> None:
        """Writes lines into the state file that say that these events are in the bucket. An empty
        ledger fills itself from them."""
        with self.uploaded.open("a") as file:
            for event in events:
                at = datetime.fromtimestamp(int(event.ended), UTC)
                file.write(f"{at:%Y-%m-%dT%H:%M:%SZ}\tsnapshot:{event.id}\t{event.key}\n")

    def save(self) -> None:
        shutil.rmtree(self.saved, ignore_errors=True)
        shutil.copytree(self.state, self.saved / "state")
        _linked(self.cache, self.saved / "cache")

    def restore(self) -> None:
        for event in self._passing:
            (self.clips / f"{event.camera}-{event.id}.jpg").unlink()
            self._sql.execute("DELETE FROM event WHERE id = ?", (event.id,))
        self._passing.clear()
        shutil.rmtree(self.state)
        shutil.copytree(self.saved / "state", self.state)
        shutil.rmtree(self.cache)
        _linked(self.saved / "cache", self.cache)

    def lines(self) -> int:
        """The number of artifacts that the state file says are in the bucket."""
        try:
            with self.uploaded.open("rb") as file:
                return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
        except FileNotFoundError:
            return 0

    def close(self) -> None:
        self._sql.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _linked(source: Path, target: Path) -> None:
    """Copies a tree, but links the pictures of the spool, which never change."""

    def copy(one: str, other: str) -> None:
        (os.link if "snapshot_" in os.path.basename(one) else shutil.copy2)(one, other)

    shutil.copytree(source, target, copy_function=copy)


def pictures(folder: Path, count: int, least: int, most: int, seed: int = 1) -> list[Path]:
    """Makes files of `least` to `most` random bytes each. The same seed makes the same files."""
    rng, found = random.Random(seed), []
    folder.mkdir(parents=True)
    for number in range(count):
        size, at = rng.randint(least, most), rng.randrange(1 << 19)
        path = folder / f"{number:06d}.jpg"
        with path.open("wb") as file:
            file.write(b"%08d" % number)
            while (left := size - file.tell()) > 0:
                file.write(POOL[at : at + min(left, 1 << 19)])
        found.append(path)
    return found
