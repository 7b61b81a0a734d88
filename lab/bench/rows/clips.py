"""Clips: the time that a live snapshot takes while clips of 200 MB go up over the same line.

The child mirrors all kinds of files. Frigate has three events whose recordings are 200 MB each, so
ffmpeg makes three clips, which then go up one after the other for four minutes. Meanwhile one event
ends every 1.2 s. Its snapshot of 30 to 300 KB, its thumbnail and its metadata go up; its clip is
left out by a filter. The time runs from the write of the event's id to the pipe to the moment when
the sink has the whole snapshot. Idle is the same without the three events.

All connections share one line of 20 Mbit/s. The sink takes from them in turn, 1,448 bytes each, as
a router with fair queues does, and each has a receive buffer of 64 KB in place of the router's
queue. So what a clip has sent already is ahead of a snapshot, as on a real line. No packet is lost,
and the line has no delay of its own.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from lab.bench.figures import Figure, at_most, percentile
from lab.bench.house import CAMERAS, Event, House
from lab.bench.lab import Lab
from lab.bench.processes import BenchError, Mirror, wait_until
from lab.bench.servers import NullSink, place
from tests.rig import STANDIN, ffmpeg

LINE = 20e6 / 8  # bytes a second
EVERY = 1.2  # seconds
CLIPS = 3
ALL = {"MIRROR_KINDS": "snapshot,thumbnail,clip,metadata", "MIRROR_CLIP_MIN_DURATION": "1",
       "MIRROR_DRAIN_SECONDS": "0"}  # fmt: skip
NOISE = (640, 480, 20)  # width, height and number of pictures; as H.264 they have 16 MB
SECONDS = 2  # of that


def run(lab: Lab) -> Iterator[Figure]:
    files = lab.pictures(lab.size(5, 100))
    empty, house = lab.house([]), lab.house([])
    size = add_clips(house, recording(lab, repeats=lab.size(2, 13)))
    sink = NullSink(rate=LINE)
    try:
        idle, _ = latencies(empty, sink, files, 0)
        busy, share = latencies(house, sink, files, CLIPS * size)
    finally:
        sink.stop()
    note = f"the clips had {share:.0%} of the line meanwhile"
    yield Figure(f"live snapshot while clips of {size / 1e6:.0f} MB go up, median of {len(files)}",
                 "ms", [median(busy)], "idle", [median(idle)], at_most(1.5), note)  # fmt: skip
    yield Figure("the same, 95th percentile", "ms", [percentile(busy, 0.95)], "idle",
                 [percentile(idle, 0.95)])  # fmt: skip
    for one in (house, empty):
        one.close()


def recording(lab: Lab, repeats: int) -> tuple[Path, float]:
    """Returns a video that repeats two seconds of noise, and how many seconds it has."""
    folder, (width, height, count) = lab.room("recording"), NOISE
    noise, piece, whole = folder / "noise", folder / "piece.mp4", folder / "whole.mp4"
    noise.write_bytes(random.Random(1).randbytes(width * height * 3 // 2 * count))
    ffmpeg.run("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-r",
               str(count // SECONDS), "-i", noise, "-c:v", "libx264", "-preset", "ultrafast",
               "-qp", "1", piece)  # fmt: skip
    (folder / "list").write_text(f"file {piece.name}\n" * repeats)
    ffmpeg.run("-f", "concat", "-i", folder / "list", "-c", "copy", whole)
    return whole, float(SECONDS * repeats)


def add_clips(house: House, video: tuple[Path, float]) -> int:
    """Adds events of the last hour that show all of the video. Returns its size."""
    path, seconds = video
    start = int(time.time()) - 3600
    house.record(CAMERAS[0], start, seconds, path)
    house.rows(
        Event(number * len(CAMERAS), start + number / 10, start + seconds)
        for number in range(CLIPS)
    )
    house.save()
    return path.stat().st_size


def latencies(
    house: House, sink: NullSink, files: list[Path], clips: int
) -> tuple[list[float], float]:
    """The milliseconds of each event, and which share of the line the clips had. They have `clips`
    bytes in all."""
    house.restore()
    written = {}
    with Mirror(house, place(sink, sink.bucket()), **ALL) as mirror:
        wait_until(lambda: mirror.status(), 30, "the mirror's start")
        if clips:
            wait_until(lambda: held(house) == CLIPS, 120, "the clips", 0.2)
            wait_until(lambda: sink.ask("stats")["bytes"] > 1e6, 30, "the first clip's upload")
        before, began = sink.ask("stats")["bytes"], time.monotonic()
        for number, path in enumerate(files):
            time.sleep(max(0.0, began + EVERY * (number + 1) - time.monotonic()))
            event = house.live(50_000_000 + number, path)
            thumbnail(house, event)
            written[event.key] = time.monotonic()
            mirror.offer(event.id)
        keys = set(written)
        wait_until(lambda: keys <= sink.when().keys(), 60, "the live events")
        carried, took = sink.ask("stats")["bytes"], time.monotonic() - began
        if clips and carried >= clips:
            raise BenchError("the clips ended before the live events did")
        mirror.stop()
    when = sink.when()
    snapshots = sum(path.stat().st_size for path in files)
    share = (carried - before - snapshots) / LINE / took
    return [1000 * (when[key] - written[key]) for key in keys], share


def held(house: House) -> int:
    """How many clips wait in the spool."""
    return sum(not one.name.endswith("~.json") for one in house.spool.glob("clip_*"))


def thumbnail(house: House, event: Event) -> None:
    path = house.clips / "thumbs" / event.camera / f"{event.id}.webp"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.hardlink_to(STANDIN / "thumbs" / "garage.webp")
