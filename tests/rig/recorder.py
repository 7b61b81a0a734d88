"""A Frigate without a Frigate, as far as recordings go: its folder, its database, its settings."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.rig.event_table import SEGMENTS, TABLE, add_review

IN_FRIGATE = "/media/frigate/recordings"
SEGMENT = SEGMENTS["front_door"]
SECONDS = 4.0
"""How long the video of SEGMENT is."""


class Recorder:
    """The folder, the database and the settings below `folder`. `keeps` is for how many days
    Frigate keeps recordings."""

    def __init__(self, folder: Path, *cameras: str, keeps: float = 10_000.0) -> None:
        self.root = folder / "recordings"
        self.root.mkdir()
        self.database_path = folder / "frigate.db"
        self.state = folder / "state"
        self.settings = folder / "config.json"
        self.cameras = cameras or ("front_door",)
        self.database = sqlite3.connect(self.database_path, isolation_level=None)
        self.database.execute("PRAGMA journal_mode=WAL")
        self.database.executescript(TABLE)
        self.configure({"continuous": {"days": keeps}, "motion": {"days": 0}})

    def configure(self, record: dict[str, Any], **more: Any) -> None:
        """Writes Frigate's settings."""
        cameras: dict[str, Any] = {camera: {} for camera in self.cameras}
        self.settings.write_text(json.dumps({"cameras": cameras, "record": record, **more}))

    def place(self, start: int, camera: str = "front_door") -> Path:
        """Returns where the segment of this camera lies that begins at `start`."""
        at = datetime.fromtimestamp(start, UTC)
        return self.root / f"{at:%Y-%m-%d}" / f"{at:%H}" / camera / f"{at:%M.%S}.mp4"

    def shown(self, start: int, camera: str = "front_door") -> str:
        """Returns the path by which Frigate knows this segment."""
        return f"{IN_FRIGATE}/{self.place(start, camera).relative_to(self.root)}"

    def file(
        self, start: int, camera: str = "front_door", *, data: bytes | None = None,
        changed: float | None = None,
    ) -> Path:  # fmt: skip
        """Puts a segment into its place. It was changed when it ended, unless `changed` says when.
        `data` is its content; without it it is a whole mp4 of SECONDS."""
        path = self.place(start, camera)
        path.parent.mkdir(parents=True, exist_ok=True)
        if data is None:
            shutil.copyfile(SEGMENT, path)
        else:
            path.write_bytes(data)
        when = start + SECONDS if changed is None else changed
        os.utime(path, (when, when))
        return path

    def row(
        self, start: float, seconds: float = SECONDS, camera: str = "front_door", *,
        path: str = "", id: str = "", motion: int | None = 7,
    ) -> None:  # fmt: skip
        """Adds a row as Frigate makes it."""
        self.database.execute(
            "INSERT INTO recordings (id, camera, path, start_time, end_time, duration, motion, "
            "objects, dBFS, regions, segment_size) VALUES (?, ?, ?, ?, ?, ?, ?, 3, 0, 2, 0.04)",
            (
                id or f"{float(start)}-{camera[:6]}", camera,
                path or self.shown(int(start), camera), start, start + seconds, seconds, motion,
            ),
        )  # fmt: skip

    def review(
        self, start: float, end: float | None, severity: str = "alert", camera: str = "front_door"
    ) -> None:
        add_review(self.database, camera, [], start, end, severity)

    def rows(self, columns: str = "path") -> list[tuple[Any, ...]]:
        """Returns these columns of all rows, in the order of their starts."""
        return self.database.execute(
            f"SELECT {columns} FROM recordings ORDER BY start_time, path"
        ).fetchall()

    @property
    def environ(self) -> dict[str, str]:
        """The settings of our own command for this Frigate."""
        return {
            "FRIGATE_DB_PATH": str(self.database_path),
            "FRIGATE_RECORDINGS_DIR": str(self.root),
            "FRIGATE_CLIPS_DIR": str(self.root.parent / "clips"),
            "MIRROR_STATE_DIR": str(self.state),
        }
