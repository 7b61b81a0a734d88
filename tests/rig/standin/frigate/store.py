"""The event table with Frigate's columns. As in Frigate, a write is committed when it returns."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

TABLE = """
CREATE TABLE IF NOT EXISTS event (
    id VARCHAR(30) NOT NULL PRIMARY KEY,
    label VARCHAR(20) NOT NULL, sub_label VARCHAR(100), camera VARCHAR(20) NOT NULL,
    start_time DATETIME NOT NULL, end_time DATETIME,
    score REAL, top_score REAL, false_positive INTEGER, zones JSON NOT NULL, thumbnail TEXT,
    has_clip INTEGER NOT NULL, has_snapshot INTEGER NOT NULL, retain_indefinitely INTEGER NOT NULL,
    region JSON, box JSON, area INTEGER, ratio REAL, plus_id VARCHAR(30),
    model_hash VARCHAR(32), detector_type VARCHAR(32), model_type VARCHAR(32), data JSON NOT NULL
)
"""
UPSERT = """
INSERT INTO event (id, label, sub_label, camera, start_time, end_time, top_score, zones,
                   has_clip, has_snapshot, retain_indefinitely, data)
VALUES (:id, :label, :sub_label, :camera, :start_time, :end_time, :top_score, :zones,
        :has_clip, :has_snapshot, 0, :data)
ON CONFLICT (id) DO UPDATE SET
    label = excluded.label, sub_label = excluded.sub_label, end_time = excluded.end_time,
    top_score = excluded.top_score, zones = excluded.zones, has_clip = excluded.has_clip,
    has_snapshot = excluded.has_snapshot, data = excluded.data
"""
PLAIN = ("id", "label", "camera", "start_time", "end_time")
FINISH = "UPDATE event SET end_time = :end_time WHERE id = :id"
# A start closes the events that a crash has left open. A stop closes those still in progress.
ADOPT = "UPDATE event SET end_time = start_time + 30 WHERE end_time IS NULL"
ABANDON = "UPDATE event SET end_time = ?, has_snapshot = 0 WHERE end_time IS NULL"


class EventTable:
    """The event thread opens and uses this table. Only `abandon` may be called after its end."""

    def __init__(self, path: str) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = wal")
        self._database.execute("PRAGMA synchronous = normal")
        self._database.execute(TABLE)

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
            "box": event.get("box"), "region": event.get("region"), "attributes": [],
            "max_severity": "alert",
        })  # fmt: skip
        self._database.execute(UPSERT, row)

    def finish(self, event_id: str, end_time: float) -> None:
        self._database.execute(FINISH, {"id": event_id, "end_time": end_time})
