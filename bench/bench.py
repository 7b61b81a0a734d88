#!/usr/bin/env python3
"""Three figures, on this machine, against a real S3 server (SeaweedFS) on loopback:

    latency   Frigate's `end` handler returns -> the object is listed in the bucket, beside one
              bare PUT of the same bytes by a client whose connection is warm; event by event
    hook      what the hook adds to one call of Frigate's handler
    memory    resident size of the child, idle and after the events

A run takes well under a minute and talks to loopback only.
"""

from __future__ import annotations

import os
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import frigate_s3_patcher as patcher  # noqa: E402
from servers import Bucket, SeaweedFS  # noqa: E402

EVENTS, CALLS = 100, 100_000
PICTURE = (ROOT / "tests/standin/pictures/front_door.jpg").read_bytes()


class EventProcessor:
    """A host of the known shape whose handlers do nothing."""

    def run(self) -> None: ...

    def handle_object_detection(self, event_type: str, camera: str, event_data: Any) -> None: ...

    def handle_external_detection(self, event_type: str, event_data: Any) -> None: ...


class Host:
    """A folder that looks like Frigate's, and the hook armed on a host of the known shape."""

    def __init__(self, folder: Path, bucket: Bucket) -> None:
        self.clips = folder / "clips"
        self.clips.mkdir()
        self.database = sqlite3.connect(folder / "frigate.db", isolation_level=None)
        self.database.execute("PRAGMA journal_mode = WAL")
        self.database.execute(
            "CREATE TABLE event (id TEXT PRIMARY KEY, camera TEXT, label TEXT, sub_label TEXT,"
            " start_time DATETIME, end_time DATETIME, zones JSON, has_snapshot INTEGER, data JSON)"
        )
        os.environ |= bucket.environ | {
            "FRIGATE_DB_PATH": str(folder / "frigate.db"),
            "FRIGATE_CLIPS_DIR": str(self.clips),
            "S3_LOG_LEVEL": "WARNING",
        }
        self.observer = patcher.Observer()
        self.bare = EventProcessor.handle_object_detection
        self.hooked = patcher._wrap_object(self.bare, self.observer)

    def start(self) -> None:
        self.observer.start(patcher.child_environment(None))

    def stop(self) -> None:
        """Close the pipe and wait until the child, which drains first, has been reaped."""
        self.observer.stop()
        for thread in threading.enumerate():
            if thread.name == "s3_mirror_keeper":
                thread.join(20.0)

    def event(self, number: int) -> str:
        """Write picture and row of an event that ends now, as Frigate does before its handler."""
        event_id = f"{time.time():.6f}-{number:06d}"
        (self.clips / f"front_door-{event_id}.jpg").write_bytes(PICTURE + b"%d" % number)
        row = (event_id, "front_door", "person", None, time.time(), time.time(), "[]", 1, "{}")
        self.database.execute("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        return event_id


def wait_until_listed(bucket: Bucket, event_id: str, deadline: float = 10.0) -> None:
    until = time.monotonic() + deadline
    while time.monotonic() < until:
        answer = bucket.client.list_objects_v2(Bucket=bucket.name, Prefix="front_door/")
        if any(event_id in item["Key"] for item in answer.get("Contents", ())):
            return
        time.sleep(0.002)
    raise TimeoutError(f"{event_id} is not in the bucket after {deadline} s")


def latency(host: Host, bucket: Bucket) -> tuple[list[float], list[float]]:
    """Seconds per event through the mirror, and per bare PUT with the same look at the listing."""
    mirrored, bare = [], []
    for number in range(EVENTS):
        event_id = host.event(number)
        host.hooked(None, "end", "front_door", {"id": event_id, "has_snapshot": True})
        began = time.perf_counter()
        wait_until_listed(bucket, event_id)
        mirrored.append(time.perf_counter() - began)
        began = time.perf_counter()
        bucket.client.put_object(Bucket=bucket.name, Key="front_door/bare.jpg", Body=PICTURE)
        wait_until_listed(bucket, "bare.jpg")
        bare.append(time.perf_counter() - began)
        for item in bucket.client.list_objects_v2(Bucket=bucket.name).get("Contents", ()):
            bucket.client.delete_object(Bucket=bucket.name, Key=item["Key"])
    return mirrored, bare


def cost(host: Host) -> list[float]:
    """Seconds that the hook adds to each of many calls; ids that name no event, so that the child
    reads them and does nothing."""
    added = []
    data = {"id": "1700000000.123456-abcdef", "has_snapshot": True}
    for _ in range(CALLS):
        t0 = time.perf_counter()
        host.bare(None, "end", "front_door", data)
        t1 = time.perf_counter()
        host.hooked(None, "end", "front_door", data)
        added.append((time.perf_counter() - t1) - (t1 - t0))
    return added


def child_pid() -> int:
    """The child: the one process whose parent we are that runs the front door."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if parent == os.getpid() and b"s3_snapshot_mirror" in command:
                return int(entry.name)
    raise LookupError("the child does not run")


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def spread(values: list[float], scale: float, unit: str) -> str:
    ordered = sorted(values)
    p99 = ordered[int(len(ordered) * 0.99)]
    return f"median {statistics.median(values) * scale:.1f} {unit}, p99 {p99 * scale:.1f} {unit}"


def main() -> None:
    server = SeaweedFS()
    try:
        with tempfile.TemporaryDirectory() as folder:
            bucket = server.bucket()
            host = Host(Path(folder), bucket)
            host.start()
            first = host.event(999_999)
            host.observer.notice(first)
            wait_until_listed(bucket, first, 20.0)
            idle = resident_mb(child_pid())
            mirrored, bare = latency(host, bucket)
            print(f"latency  mirrored {spread(mirrored, 1e3, 'ms')}")
            print(f"         bare PUT {spread(bare, 1e3, 'ms')}")
            ratio = statistics.median(mirrored) / statistics.median(bare)
            print(f"         ratio of medians {ratio:.2f}")
            print(f"hook     adds {spread(cost(host), 1e6, 'µs')} a call, over {CALLS} calls")
            print(f"memory   {idle:.0f} MB idle, {resident_mb(child_pid()):.0f} MB after it all")
            host.stop()
    finally:
        server.stop()


if __name__ == "__main__":
    main()
