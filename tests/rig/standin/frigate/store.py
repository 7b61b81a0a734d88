"""The tables of events and recordings. As in Frigate, a write is committed when it returns."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

from frigate.const import CLIPS_DIR
from frigate.variant import VERSION

TABLES = (Path(__file__).parents[1] / "tables.sql").read_text()
UPSERT = """
INSERT INTO event (id, label, sub_label, camera, start_time, end_time, top_score, false_positive,
                   zones, has_clip, has_snapshot, retain_indefinitely,
                   model_hash, detector_type, model_type, data)
VALUES (:id, :label, :sub_label, :camera, :start_time, :end_time, :top_score, :false_positive,
        :zones, :has_clip, :has_snapshot, 0,
        'ad921d60486366258809553a3db49a4a', 'cpu', 'ssd', :data)
ON CONFLICT (id) DO UPDATE SET
    label = excluded.label, sub_label = excluded.sub_label, end_time = excluded.end_time,
    top_score = excluded.top_score, zones = excluded.zones, has_clip = excluded.has_clip,
    has_snapshot = excluded.has_snapshot, data = excluded.data
"""
PLAIN = ("id", "label", "camera", "start_time", "end_time", "false_positive")
FINISH = "UPDATE event SET end_time = :end_time WHERE id = :id"
TIMELINE = """
INSERT INTO timeline (timestamp, camera, source, source_id, class_type, data)
VALUES (?, ?, 'tracked_object', ?, ?, ?)
"""
REVIEW = """
INSERT INTO reviewsegment (id, camera, start_time, end_time, severity, thumb_path, data)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
RECORDING = """
INSERT INTO recordings (id, camera, path, start_time, end_time, duration, objects, motion,
                        segment_size, dBFS, regions)
VALUES (?, ?, ?, ?, ?, ?, 1, 5, ?, 0, 2)
"""
# A start closes the events that a crash has left open. A stop closes those still in progress.
ADOPT = "UPDATE event SET end_time = start_time + 30 WHERE end_time IS NULL"
ABANDON = "UPDATE event SET end_time = ?, has_snapshot = 0 WHERE end_time IS NULL"


class EventTable:
    """The event thread opens and uses these tables, and the recorder adds its rows. Only `abandon`
    may be called after their end."""

    def __init__(self, path: str) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = wal")
        self._database.execute("PRAGMA synchronous = normal")
        self._database.executescript(f"BEGIN; {TABLES} COMMIT;")  # others see all tables or none

    def adopt(self) -> None:
        self._database.execute(ADOPT)

    def abandon(self) -> None:
        self._database.execute(ABANDON, (time.time(),))
        self._database.close()

    def upsert(self, event: dict[str, Any], source: str) -> None:
        """Writes the row of an event from a message's data. `source` is `object` or `api`."""
        row = {name: event.get(name) for name in PLAIN}
        sub_label = event.get("sub_label")
        row["sub_label"] = sub_label[0] if isinstance(sub_label, (list, tuple)) else sub_label
        row["top_score"] = event.get("top_score", event.get("score"))
        row["zones"] = json.dumps(event.get("entered_zones", []))
        row["has_clip"], row["has_snapshot"] = bool(event["has_clip"]), bool(event["has_snapshot"])
        row["data"] = json.dumps({
            "type": source, "score": event["score"], "top_score": row["top_score"],
            "box": _shares(event, "box"), "region": _shares(event, "region"), "attributes": [],
            "average_estimated_speed": 0, "velocity_angle": 0, "max_severity": "alert",
            "path_data": event.get("path_data", []),
            **({"snapshot_clean": True} if VERSION == "0.18" else {}),
        })  # fmt: skip
        self._database.execute(UPSERT, row)

    def finish(self, event_id: str, end_time: float) -> None:
        self._database.execute(FINISH, {"id": event_id, "end_time": end_time})

    def describe(self, event: dict[str, Any]) -> None:
        """Writes the timeline of a tracked object that has ended, and a review item of its own.

        Frigate writes both while the object moves, and an item can contain several events."""
        start, end = event["start_time"], event["end_time"]
        zones = event.get("entered_zones", [])
        moments = [(start, "visible", [])]
        moments += [(start + 0.5, "entered_zone", zones[: n + 1]) for n in range(len(zones))]
        moments.append((event.get("frame_time", end), "gone", zones))
        for timestamp, what, now in moments:
            data = {
                "label": event["label"], "sub_label": event.get("sub_label"),
                "box": _shares(event, "box"), "region": _shares(event, "region"), "attribute": "",
                "score": event["score"], "zones": now,
            }  # fmt: skip
            row = (timestamp, event["camera"], event["id"], what, json.dumps(data))
            self._database.execute(TIMELINE, row)
        review_id = f"{start}-{event['id'][:-7:-1]}"
        picture = f"{CLIPS_DIR}/review/thumb-{event['camera']}-{review_id}.webp"
        about = {"detections": [event["id"]], "objects": [event["label"]], "sub_labels": [],
                 "zones": zones, "audio": []}  # fmt: skip
        self._database.execute(
            REVIEW, (review_id, event["camera"], start, end, "alert", picture, json.dumps(about))
        )

    def recorded_until(self) -> float:
        """Returns the end of the last segment, or 0."""
        [(end,)] = self._database.execute("SELECT max(end_time) FROM recordings")
        return end or 0.0

    def record(self, camera: str, path: Path, start: int, seconds: int) -> None:
        """Writes the row of a segment whose file is complete."""
        size = round(path.stat().st_size / 2**20, 2)
        row = (f"{start}.0-{camera[:6]}", camera, str(path), start, start + seconds, seconds, size)
        self._database.execute(RECORDING, row)


def _shares(event: dict[str, Any], name: str) -> list[float] | None:
    """Returns left, top, width and height as shares of a picture of 1280 x 720."""
    if event.get(name) is None:
        return None
    left, top, right, bottom = event[name]
    return [left / 1280, top / 720, (right - left) / 1280, (bottom - top) / 720]
