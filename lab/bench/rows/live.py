"""Live events during a drain: the time that an event takes while a backlog is uploaded.

It runs from the write of the event's id to the pipe to the moment when the null sink has the whole
object. Each answer of the sink takes 20 ms more, and there is one event every 0.4 s. Idle is the
same without a backlog. The backlog is drained once at full speed and once under a bandwidth limit.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from lab.bench.figures import Figure, at_most, percentile
from lab.bench.house import House
from lab.bench.lab import Lab
from lab.bench.processes import BenchError, Mirror, wait_until
from lab.bench.servers import NullSink, place

SLOW = {"MIRROR_BANDWIDTH_LIMIT": "1M"}  # bytes a second: about 6 snapshots
DELAY, EVERY = 0.02, 0.4


def run(lab: Lab) -> Iterator[Figure]:
    count, events = lab.size(1_500, 4_000), lab.size(5, 12)
    sink = lab.sink
    files = lab.pictures(count)
    house, empty = lab.house(files), lab.house([])
    for settings in ({}, SLOW):
        found: dict[str, list[list[float]]] = {"idle": [], "drain": []}
        for _ in range(lab.rounds):
            for name, where in (("idle", empty), ("drain", house)):
                sink.slow_down(DELAY)
                found[name].append(
                    latencies(
                        where, sink, files[:events], settings, count if name == "drain" else 0
                    )
                )
        yield from _figures("bandwidth-limited" if settings else "full-speed", found)
    sink.slow_down(0)


def latencies(
    house: House, sink: NullSink, files: list[Path], settings: dict[str, str], backlog: int
) -> list[float]:
    """The milliseconds of each event."""
    house.restore()
    written = {}
    with Mirror(house, place(sink, sink.bucket()), **settings, MIRROR_DRAIN_SECONDS="0") as mirror:
        wait_until(lambda: mirror.status(), 30, "the mirror's start")
        if backlog:
            wait_until(lambda: sink.count("bench") > 3, 30, "the drain")
        for number, path in enumerate(files):
            time.sleep(EVERY)
            event = house.live(50_000_000 + number, path)
            written[event.key] = time.monotonic()
            mirror.offer(event.id)
        keys = set(written)
        wait_until(lambda: keys <= sink.when().keys(), 60, "the live events")
        if backlog and sink.count("bench") >= backlog + len(keys):
            raise BenchError("the backlog ended before the live events did")
        mirror.stop()
    when = sink.when()
    return [1000 * (when[key] - written[key]) for key in keys]


def _figures(kind: str, found: dict[str, list[list[float]]]) -> Iterator[Figure]:
    medians = {name: [statistics.median(one) for one in rounds] for name, rounds in found.items()}
    worst = {name: [percentile(one, 0.99) for one in rounds] for name, rounds in found.items()}
    yield Figure(f"live event during a {kind} drain, median", "ms", medians["drain"], "idle",
                 medians["idle"], at_most(2))  # fmt: skip
    yield Figure(f"live event during a {kind} drain, slowest of a round", "ms", worst["drain"],
                 "idle", worst["idle"])  # fmt: skip
