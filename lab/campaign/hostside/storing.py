"""Stores rows of recordings as Frigate does, one every 20 ms, until its input ends.

    python storing.py DATABASE CAMERA

It prints JSON: `stored` is the number of its rows, whose ids are frigate-0, frigate-1 and so on,
and `slowest` is the longest time in seconds that one of them took.
"""

from __future__ import annotations

import json
import select
import sqlite3
import sys
import time

EVERY = 0.02  # seconds
PATIENCE = 120.0  # seconds; Frigate waits for its lock 60 s for each camera
INSERT = """INSERT INTO recordings (id, camera, path, start_time, end_time, duration, motion,
    objects, dBFS, regions, segment_size) VALUES (?, ?, ?, ?, ?, 10.0, 7, 0, 0, 0, 2.5)"""


def main() -> None:
    database = sqlite3.connect(sys.argv[1], timeout=PATIENCE, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    stored, slowest = 0, 0.0
    while not select.select([sys.stdin], [], [], EVERY)[0]:
        began, now = time.monotonic(), time.time()
        path = f"/media/frigate/recordings/now/{sys.argv[2]}/{stored}.mp4"
        database.execute(INSERT, (f"frigate-{stored}", sys.argv[2], path, now, now + 10))
        stored += 1
        slowest = max(slowest, time.monotonic() - began)
    print(json.dumps({"stored": stored, "slowest": slowest}))


if __name__ == "__main__":
    main()
