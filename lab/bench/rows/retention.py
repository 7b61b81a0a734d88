"""Retention: its memory on a large archive, its speed beside `rclone delete`, and its reading.

The archive is one that a server only shows (`lab/bench/crowd.py`), so a million objects cost
nothing, and every deletion is confirmed. Growth is the difference of the command's peak memory
between 10,000 and 1,000,000 objects, of a dry run that marks a fifth of them. Against
`rclone delete --min-age` both list the same archive without JSON and delete the fifth that is too
old; rclone gets the times from the listing. The goal is for a server that answers after 20 ms. One
that answers at once shows only what the programs compute. On WebDAV both delete the same files of a
server of `rclone serve`. The reading is the time for 1,000 JSON of 3 KB with rules for labels, on
SeaweedFS, without the time of a run in which the cache has them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from lab.bench.companion import WEBDAV, Remote
from lab.bench.figures import Figure, at_most, below, interleaved
from lab.bench.lab import Lab
from lab.bench.processes import BenchError, Cost, measured
from lab.bench.servers import place
from tests.rig import ROOT
from tests.rig.rclone import program
from tests.rig.servers import ACCESS, SECRET

DAY = 86_400
DAYS, KEPT = 10, 8  # the archive has so many days, and so many are kept
DELAY = 0.02  # seconds; S3's own answers take longer
GROWTH = 30  # megabytes; SQLite's cache is 16 of them
PICTURES, DOCUMENTS = ".jpg,.mp4", ".jpg,.json,.mp4"
COMMAND = [sys.executable, str(ROOT / "s3_snapshot_mirror.py"), "retention"]
S3 = ["--config", "/dev/null", "--s3-provider", "Other", "--s3-env-auth", "--s3-list-version", "2",
      "--s3-no-check-bucket", "--use-server-modtime", "--fast-list"]  # fmt: skip


class Crowd:
    """`lab/bench/crowd.py` as a process, with so many objects. It answers after `delay` seconds."""

    def __init__(self, objects: int, endings: str, delay: float = 0.0) -> None:
        events = objects // len(endings.split(","))
        script = str(ROOT / "lab" / "bench" / "crowd.py")
        words = [sys.executable, "-I", script, str(events), str(DAYS), endings, str(delay)]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.endpoint = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    @property
    def environ(self) -> dict[str, str]:
        return {"S3_BUCKET": "bench", "S3_ENDPOINT_URL": self.endpoint, "S3_ACCESS_KEY": ACCESS,
                "S3_SECRET_KEY": SECRET}  # fmt: skip

    def deleted(self) -> int:
        with urllib.request.urlopen(f"{self.endpoint}/-/deleted", timeout=10) as answer:
            return int(answer.read())

    def stop(self) -> None:
        self._process.communicate(timeout=10)


def run(lab: Lab) -> Iterator[Figure]:
    yield from _growth(lab)
    objects = lab.size(5_000, 50_000)
    yield from _deletion(lab, objects, DELAY)
    yield from _deletion(lab, objects, 0.0)
    yield from _webdav(lab)
    yield from _reading(lab)


def _growth(lab: Lab) -> Iterator[Figure]:
    large = lab.size(50_000, 1_000_000)
    few, many = (_dry(lab, objects) for objects in (10_000, large))
    note = f"peak {many.peak_mb:.0f} MB, in {many.took:.0f} s; one round"
    yield Figure(f"growth of the memory from 10,000 to {large:,} objects", "MB",
                 [many.peak_mb - few.peak_mb], goal=below(GROWTH), note=note)  # fmt: skip


def _dry(lab: Lab, objects: int) -> Cost:
    crowd = Crowd(objects, PICTURES)
    try:
        words = ["--dry-run", "--max-deletes", str(objects)]
        return _retention(lab, crowd.environ, f"*:{KEPT}d", words)
    finally:
        crowd.stop()


def _deletion(lab: Lab, objects: int, delay: float) -> Iterator[Figure]:
    crowd = Crowd(objects, PICTURES, delay)
    counts: list[int] = []

    def counted(cost: Cost) -> float:
        counts.append(crowd.deleted())
        return cost.took

    words = ["delete", *S3, "--s3-endpoint", crowd.endpoint, "--min-age", f"{KEPT}d", ":s3:bench"]
    try:
        found = interleaved(
            lab.size(1, 3),
            ours=lambda: counted(
                _retention(lab, crowd.environ, f"camera=door:{KEPT}d *:{KEPT}d",
                           ["--max-deletes", str(objects)])),
            rclone=lambda: counted(measured([program(), *words], lab.folder)),
        )  # fmt: skip
    finally:
        crowd.stop()
    each = [after - before for before, after in zip([0, *counts], counts, strict=False)]
    if min(each) < 0.19 * objects or max(each) > 0.21 * objects:
        raise BenchError(f"{each} of {objects} objects were deleted, and not a fifth each time")
    answers = f"answers after {1_000 * delay:g} ms" if delay else "answers at once"
    yield Figure(f"deleting a fifth of {objects:,} objects, S3 that {answers}", "s", found["ours"],
                 "rclone delete --min-age", found["rclone"],
                 at_most(1) if delay else None)  # fmt: skip


def _webdav(lab: Lab) -> Iterator[Figure]:
    events = lab.size(20, 500)

    def measure(delete: Callable[[Remote], Cost]) -> float:
        room = lab.room("webdav")
        remote = Remote(WEBDAV, room)  # its server remembers folders, so each round has its own
        try:
            _store(remote.folder / "frigate", events)
            cost = delete(remote)
            left = remote.count(".*")
        finally:
            remote.stop()
            shutil.rmtree(room)
        if left != 2 * events - 2 * events // 5:
            raise BenchError(f"{left} of {2 * events} files are left")
        return cost.took

    words = [program(), "delete", "--min-age", f"{KEPT}d", "there:frigate"]
    most = ["--max-deletes", "999999"]
    found = interleaved(
        lab.size(1, 3),
        ours=lambda: measure(lambda it: _retention(lab, it.environ, f"{KEPT}d", most)),
        rclone=lambda: measure(lambda it: measured(words, lab.folder, it.environ)),
    )
    yield Figure(f"deleting {2 * events // 5:,} of {2 * events:,} files, WebDAV", "s",
                 found["ours"], "rclone delete --min-age", found["rclone"])  # fmt: skip


def _store(folder: Path, events: int) -> None:
    """Makes an archive with two files of each event, the same for each round."""
    shutil.rmtree(folder, ignore_errors=True)
    now = time.time()
    for number in range(events):
        started = now - DAYS * DAY * (number + 0.5) / events
        for ending in PICTURES.split(","):
            path = folder / f"{_stem(number, started)}{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * 1_000)
            os.utime(path, (started, started))


def _stem(number: int, started: float) -> str:
    then = time.gmtime(started)
    day, stamp = time.strftime("%Y-%m-%d", then), time.strftime("%Y%m%d_%H%M%S", then)
    return f"front/{day}/{started:.6f}-{number:06d}-{stamp}"


def _reading(lab: Lab) -> Iterator[Figure]:
    """Reads the JSON of events that are all kept, because their label has a longer rule."""
    count, bucket, client = lab.size(50, 1_000), lab.weed.bucket(), lab.weed.client
    for number in range(count + 1):
        started = time.time() - (5 * DAY + number if number else 0)
        stem = _stem(number, started)
        event_id = stem.split("/")[2].rpartition("-")[0]
        client.put_object(Bucket=bucket, Key=f"{stem}.json", Body=_document(event_id))
    environ = place(lab.weed, bucket)
    state = lab.room("reading")
    without, with_cache = [], []
    for _ in range(lab.size(1, 3)):
        shutil.rmtree(state)
        state.mkdir()
        for times in (without, with_cache):
            times.append(_retention(lab, environ, "label=car:90d *:3d", [], state).took)
    lab.weed.drop(bucket)
    reading = [
        (slow - quick) * 1_000 / count for slow, quick in zip(without, with_cache, strict=True)
    ]
    yield Figure("reading 1,000 JSON, SeaweedFS", "s", reading)
    yield Figure(f"a run that has {count:,} JSON in its cache", "s", with_cache)


def _document(event_id: str) -> bytes:
    row = {"id": event_id, "camera": "front", "label": "car", "retain_indefinitely": 0}
    found = {"schema": "event/1", "table": {"event": row}, "reviews": []}
    return json.dumps(found | {"timeline": ["x" * 100] * 30}).encode()


def _retention(
    lab: Lab, environ: Mapping[str, str], policy: str, words: list[str], state: Path | None = None
) -> Cost:
    """Runs the command to its end."""
    folder = state or lab.room("state")
    own = {"MIRROR_RETENTION": policy, "MIRROR_STATE_DIR": str(folder)}
    return measured([*COMMAND, *words], lab.folder, {**environ, **own})
