"""Temporary Frigate worlds: an event table, a folder of real pictures, settings for both.

A world writes what Frigate writes, and uses none of the program's own code for it.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frigate_mirror.artifact import Artifact
from frigate_mirror.keys import artifact_id
from frigate_mirror.ledger.folders import open_alone
from frigate_mirror.mirror import Mirror, of_frigate
from frigate_mirror.settings import settings
from frigate_mirror.settings.settings import Settings
from frigate_mirror.sinks.sink import Sink
from tests.rig import ROOT, STANDIN
from tests.rig.event_table import INSERT, TABLE
from tests.rig.waiting import PATIENCE, until

PICTURES = sorted((STANDIN / "pictures").glob("*.jpg"))
NOW = 1_705_329_022.5  # 2024-01-15T14:30:22Z
DAY = 86_400.0


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def loaded(folder: Path, **other: str) -> Settings:
    """Returns the settings of a mirror whose Frigate has its database and its clips in `folder`."""
    environ = {
        "S3_BUCKET": "pictures",
        "FRIGATE_DB_PATH": f"{folder}/frigate.db",
        "FRIGATE_CLIPS_DIR": f"{folder}/clips",
    }
    return settings.load(environ | other)


@dataclass
class World:
    """A Frigate without its process: `database` and `clips` as it would leave them."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.database = self.folder / "config" / "frigate.db"
        self.clips = self.folder / "media" / "clips"
        self.cache = self.clips / "cache"
        self.state = self.folder / "config" / "s3_mirror"
        self.database.parent.mkdir(parents=True)
        self.clips.mkdir(parents=True)
        self._sql = sqlite3.connect(self.database, isolation_level=None, check_same_thread=False)
        self._sql.execute("PRAGMA journal_mode = WAL")
        self._sql.executescript(TABLE)
        places = {"FRIGATE_DB_PATH": str(self.database), "FRIGATE_CLIPS_DIR": str(self.clips)}
        self.environ = {"S3_BUCKET": "bucket", **places, **self.environ}
        self.pictures: dict[str, bytes] = {}

    def settings(self, **environ: str) -> Settings:
        return settings.load(self.environ | environ)

    def mirror(self, sink: Sink, **options: Any) -> Mirror:
        """Returns a mirror of this world that runs in this process. The caller closes its
        ledger."""
        loaded = self.settings()
        return of_frigate(loaded, sink, open_alone(loaded.state), **options)

    def event(
        self,
        camera: str = "front_door",
        started: float = NOW - 60,
        *,
        lasted: float | None = 5.0,
        picture: bool = True,
        kind: str = "object",
    ) -> str:
        """Makes an event as Frigate does, its picture first and then its row. Returns its id."""
        event_id = f"{started:.6f}-{len(self.pictures):06d}"
        self.pictures[event_id] = _picture(len(self.pictures))
        if picture:
            self.write_picture(event_id, camera)
        ended = None if lasted is None else started + lasted
        self._sql.execute(INSERT, (event_id, camera, started, ended, json.dumps({"type": kind})))
        return event_id

    def events(self, ids: Iterable[tuple[str, float]], camera: str = "front_door") -> None:
        """Makes rows of events without pictures, in one transaction."""
        self._sql.execute("BEGIN")
        rows = ((one, camera, start, start + 5, '{"type": "object"}') for one, start in ids)
        self._sql.executemany(INSERT, rows)
        self._sql.execute("COMMIT")

    def write_picture(self, event_id: str, camera: str = "front_door") -> None:
        (self.clips / f"{camera}-{event_id}.jpg").write_bytes(self.pictures[event_id])

    def forget(self, event_id: str, camera: str = "front_door", *, row: bool = False) -> None:
        """Deletes an event's picture and, with `row`, its row, as Frigate's retention does."""
        (self.clips / f"{camera}-{event_id}.jpg").unlink()
        if row:
            self._sql.execute("DELETE FROM event WHERE id = ?", (event_id,))

    def end(self, event_id: str, ended: float) -> None:
        """Ends a manual event that had no duration."""
        self._sql.execute("UPDATE event SET end_time = ? WHERE id = ?", (ended, event_id))

    def review(
        self,
        event_ids: list[str],
        started: float,
        severity: str = "detection",
        ended: float | None = NOW,
    ) -> None:
        """Makes a review item of these events."""
        data = json.dumps({"detections": event_ids})
        self._sql.execute(
            "INSERT INTO reviewsegment VALUES (?, 'front_door', ?, ?, ?, 'thumb', ?)",
            (f"r-{event_ids[0]}", started, ended, severity, data),
        )

    def reviewed(self, event_id: str, user: str = "admin") -> None:
        """Notes that a user has reviewed the item that begins with this event."""
        self._sql.execute(
            """INSERT INTO userreviewstatus (user_id, review_segment_id, has_been_reviewed)
               VALUES (?, ?, 1)""",
            (user, f"r-{event_id}"),
        )

    def rename_camera(self, event_id: str, camera: str) -> None:
        self._sql.execute("UPDATE event SET camera = ? WHERE id = ?", (camera, event_id))

    def without_snapshot(self, event_id: str) -> None:
        """Notes in the row that the event has no snapshot, as Frigate's retention does when it
        deletes a picture."""
        self._sql.execute("UPDATE event SET has_snapshot = 0 WHERE id = ?", (event_id,))

    def without_recordings(self, event_id: str) -> None:
        """Notes in the row that the event has no recordings."""
        self._sql.execute("UPDATE event SET has_clip = 0 WHERE id = ?", (event_id,))

    def artifact(self, event_id: str = "1705328962.500000-abcdef", **other: Any) -> Artifact:
        """Returns the artifact of an event. The event needs no row."""
        camera = other.get("camera", "front_door")
        values: dict[str, Any] = {
            "id": artifact_id("snapshot", event_id),
            "camera": camera,
            "started": float(event_id.split("-")[0]),
            "key": f"{camera}/2024-01-15/{event_id}-20240115_142922.jpg",
            "origin": f"{self.clips}/{camera}-{event_id}.jpg",
            "size": 3,
            "content_type": "image/jpeg",
            "metadata": {"camera": camera},
        }
        return Artifact(**values | other)

    def lines(self, name: str) -> list[list[str]]:
        """Returns the fields of each line of a state file. There are none if it is missing."""
        path = self.cache / name
        text = path.read_text() if path.exists() else ""
        return [line.split("\t") for line in text.splitlines()]

    def status(self) -> dict[str, Any]:
        """Returns the status document that was written last, or an empty one."""
        try:
            document: dict[str, Any] = json.loads((self.cache / ".s3_status.json").read_text())
        except FileNotFoundError:
            return {}
        return document


def _picture(number: int) -> bytes:
    """Returns a real picture. The bytes after its end mark make each picture different."""
    return PICTURES[number % len(PICTURES)].read_bytes() + b"%d" % number


class Child:
    """The mirror as Frigate's hook starts it, with a pipe for event ids as its stdin."""

    def __init__(
        self,
        world: World,
        *,
        root: Path = ROOT,
        log: str = "log",
        inherited: Iterable[int] = (),
        **environ: str,
    ) -> None:
        self.log_path = world.folder / log
        reading, self.pipe = os.pipe()
        with self.log_path.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, str(root / "s3_snapshot_mirror.py"), "run"],
                stdin=reading,
                stdout=file,
                stderr=file,
                env=clean_environ() | world.environ | environ,
                cwd="/",
                start_new_session=True,
                pass_fds=tuple(inherited),
            )
        os.close(reading)

    def offer(self, event_id: str) -> None:
        os.write(self.pipe, f"{event_id}\n".encode())

    def close(self) -> None:
        """Closes the pipe, as Frigate does when it stops."""
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1

    def end(self) -> int:
        """Closes the pipe and waits for the end of the process. Returns its exit code."""
        self.close()
        return self.wait()

    def wait(self) -> int:
        """Waits for the end of the process. Returns its exit code."""
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.close()

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def says(self, words: str) -> None:
        """Waits until the log contains these words."""

        def said() -> bool:
            ended = self.process.poll() is not None  # asked first: it may say them and end
            return words in self.log or ended

        until(said, lambda: f"{words}\n{self.log}")
        assert words in self.log, self.log


def clean_environ() -> dict[str, str]:
    """Returns the environment without the settings that would change a world."""
    return {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("S3_", "MIRROR_", "FRIGATE_", "NOTIFY_", "RECORDINGS_", "AWS_"))
    }


def command(world: World, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in this world, as a person would."""
    return subprocess.run(
        [sys.executable, str(ROOT / "s3_snapshot_mirror.py"), *words],
        env=clean_environ() | world.environ | environ,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
