"""Frigate's tables of events and recordings, and functions that add what belongs to an event, for
folders that look like Frigate's without a Frigate.

A `connection` is in autocommit mode, so that each row is committed when its function returns.
`media` is the folder that Frigate names /media/frigate. Times are Unix seconds.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from tests.rig import STANDIN

TABLE = (STANDIN / "tables.sql").read_text()
INSERT = """INSERT INTO event (id, label, camera, start_time, end_time, zones, has_clip,
    has_snapshot, retain_indefinitely, data)
    VALUES (?, 'person', ?, ?, ?, '["yard"]', 1, 1, 0, ?)"""
"""One row; the parameters are id, camera, start_time, end_time and data."""
SEGMENTS = {path.stem: path for path in sorted((STANDIN / "segments").glob("*.mp4"))}
"""A recording of four seconds for each camera of the stand-in."""


def add_recording(
    connection: sqlite3.Connection, media: Path, camera: str, start: int, seconds: float,
    source: Path,
) -> Path:  # fmt: skip
    """Adds a segment that begins at `start` and has so many seconds. Its file is a copy of `source`
    and is complete before the row is there, as in Frigate. Returns the file."""
    at = datetime.fromtimestamp(start, UTC)
    path = media / "recordings" / f"{at:%Y-%m-%d}" / f"{at:%H}" / camera / f"{at:%M.%S}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, path)
    size = round(path.stat().st_size / 2**20, 2)  # Frigate has it in MiB
    connection.execute(
        """INSERT INTO recordings (id, camera, path, start_time, end_time, duration, objects,
               motion, segment_size, dBFS, regions)
           VALUES (?, ?, ?, ?, ?, ?, 1, 5, ?, 0, 2)""",
        (f"{start}.0-{camera}", camera, str(path), start, start + seconds, seconds, size),
    )
    return path


def add_moment(
    connection: sqlite3.Connection, event_id: str, camera: str, what: str, at: float
) -> None:
    """Adds a row to the timeline of an event. `what` is `visible`, `entered_zone`, `gone` and the
    like; `gone` has the time when the object was last seen."""
    connection.execute(
        """INSERT INTO timeline (timestamp, camera, source, source_id, class_type, data)
           VALUES (?, ?, 'tracked_object', ?, ?, ?)""",
        (at, camera, event_id, what, json.dumps({"label": "person", "score": 0.84})),
    )


def add_review(
    connection: sqlite3.Connection, camera: str, event_ids: list[str], start: float,
    end: float | None, severity: str = "alert",
) -> str:  # fmt: skip
    """Adds a review item that contains these events. Returns its id."""
    review_id = f"{start}-review"
    connection.execute(
        """INSERT INTO reviewsegment (id, camera, start_time, end_time, severity, thumb_path, data)
           VALUES (?, ?, ?, ?, ?, ?, ?)""",
        (
            review_id, camera, start, end, severity,
            f"/media/frigate/clips/review/thumb-{camera}-{review_id}.webp",
            json.dumps({"detections": event_ids, "objects": ["person"], "zones": ["yard"]}),
        ),
    )  # fmt: skip
    return review_id
