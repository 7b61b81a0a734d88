"""Frigate undisturbed: a heartbeat and a computing loop in a host process, beside a drain.

The host is one process with two threads. One beats every 5 ms and the other computes, so the
heartbeat waits for the interpreter's lock even when the host is alone. It runs without a mirror,
beside a mirror that drains to the null sink at full speed, and beside a control. The control is as
many endless loops at nice 19 as the mirror keeps cores busy: it shows how the machine itself treats
neighbours that always yield. The sink runs at nice 19 here, because it is no part of the mirror.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from lab.bench.figures import Figure, at_most
from lab.bench.lab import Lab
from lab.bench.processes import Mirror, wait_until
from lab.bench.servers import NullSink, place
from tests.rig import ROOT

SECONDS = 6
SPIN = "while True: pass"


def run(lab: Lab) -> Iterator[Figure]:
    count = lab.size(300, 20_000)
    sink, drained = NullSink(nice=19), []
    house = lab.house(lab.pictures(count))

    @contextmanager
    def draining() -> Iterator[None]:
        house.restore()
        with Mirror(house, place(sink, sink.bucket()), MIRROR_DRAIN_SECONDS="0") as mirror:
            wait_until(lambda: sink.count("bench") > 10, 60, "the drain")
            before = sink.count("bench")
            yield
            drained.append(sink.count("bench") - before)
            mirror.stop()

    found: dict[str, list[dict[str, float]]] = {"none": [], "mirror": [], "control": []}
    for number in range(lab.rounds):
        order = list(found) if number % 2 else list(reversed(found))
        for name in order:
            beside: dict[str, AbstractContextManager[Any]] = {
                "none": nullcontext(), "mirror": draining(), "control": spinning()}  # fmt: skip
            with beside[name]:
                found[name].append(host())
    sink.stop()
    house.close()
    yield from _figures(found, drained, count)


def host() -> dict[str, float]:
    words = [sys.executable, "-I", str(ROOT / "lab" / "bench" / "host.py"), str(SECONDS)]
    answer: dict[str, float] = json.loads(subprocess.check_output(words))
    return answer


@contextmanager
def spinning() -> Iterator[None]:
    words = ["nice", "-n", "19", sys.executable, "-I", "-S", "-c", SPIN]
    loops = [subprocess.Popen(words) for _ in range(max(1, (os.cpu_count() or 1) - 1))]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def _figures(
    found: dict[str, list[dict[str, float]]], drained: list[int], count: int
) -> Iterator[Figure]:
    def values(name: str, what: str) -> list[float]:
        return [one[what] for one in found[name]]

    note = f"{sum(drained):,} of {len(drained)} x {count:,} pending were drained meanwhile"
    for beside, noted in (("mirror", note), ("control", "")):
        goal = at_most(1.3) if beside == "mirror" else None
        yield Figure(f"heartbeat's lateness, p99, beside the {beside}", "ms",
                     values(beside, "p99"), "alone", values("none", "p99"), goal,
                     noted)  # fmt: skip
        yield Figure(f"turns of the loop, beside the {beside}", "", values(beside, "turns"),
                     "alone", values("none", "turns"))  # fmt: skip
