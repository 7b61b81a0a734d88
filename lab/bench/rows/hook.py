"""Cost on Frigate's event thread: the time that the hook adds to one call of a handler.

The bench is the host here. The hook is armed on a handler that does nothing, and each call is timed
with and without it, one after the other. The child is in one of these states: asleep (each call
waits until the child has read the last id, so that the write wakes it), idle (it reads ids that
name no event), draining a backlog at full speed, dead for good, or stopped while its pipe is full.
While the child reads, the calls wait whenever half the pipe is full, so that no call is counted
that only drops its id. The limit is one bare write of the same bytes to a pipe, timed in the same
way. For the sleeping child it is a write to a pipe whose reader sleeps at nice 10 and only reads.
"""

from __future__ import annotations

import fcntl
import os
import signal
import statistics
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import frigate_s3_patcher as patcher
from lab.bench.figures import Figure, below, percentile
from lab.bench.house import House
from lab.bench.lab import NOWHERE, Lab
from lab.bench.processes import PLAIN, wait_until
from lab.bench.servers import place
from tests.rig.processes import child_mirrors

DATA = {"id": "1700000000.123456-abcdef", "has_snapshot": True}
HALF_FULL, PATIENCE = 32_768, 40.0
READER = "import os; os.nice(10)\nwhile os.read(0, 4096): pass"


def handler(self: Any, event_type: Any, camera: Any, event_data: Any) -> None: ...


class Host:
    """The hook and its child, on a handler that does nothing."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.observer = patcher.Observer()
        self.hooked = patcher._wrap_object(handler, self.observer)
        self.observer.start(PLAIN | environ | {"S3_MIRROR_PARENT": str(os.getpid())})

    def unread(self) -> int:
        """The bytes in the pipe."""
        answer = fcntl.ioctl(self.observer._writing, termios.FIONREAD, bytes(4))
        return int(struct.unpack("i", answer)[0])

    def stop(self) -> None:
        """Closes the pipe and waits until the keeper has waited for the child."""
        self.observer.stop()
        for thread in threading.enumerate():
            if thread.name == "s3_keeper":
                thread.join(30.0)


@contextmanager
def armed(house: House, where: dict[str, str]) -> Iterator[Host]:
    host = Host(house.environ | where | {"MIRROR_LOG_LEVEL": "ERROR", "MIRROR_DRAIN_SECONDS": "0"})
    try:
        yield host
    finally:
        host.stop()


@contextmanager
def stopped() -> Iterator[None]:
    """Stops the children for the time of the block."""
    pids = child_mirrors(os.getpid())
    try:
        for child in pids:
            os.kill(child, signal.SIGSTOP)
        yield
    finally:
        for child in pids:
            os.kill(child, signal.SIGCONT)


def run(lab: Lab) -> Iterator[Figure]:
    calls, sink = lab.size(2_000, 100_000), lab.sink
    limit = _bare_writes(calls)
    empty = lab.house([])
    with armed(empty, place(sink, sink.bucket())) as host:
        wait_until(lambda: (empty.cache / ".s3_status.json").exists(), 30, "the child's start")
        yield from _figures("asleep", _added(host, calls // 50, 0), _bare_wakes(calls // 50))
        yield from _figures("idle", _added(host, calls, HALF_FULL), limit)
        with stopped():
            full = _added(host, calls, None)
        yield from _figures("pipe full", full, limit)
    backlog = lab.house(lab.pictures(lab.size(300, 4_000)))
    sink.slow_down(0.02)  # so that the backlog lasts as long as the calls do
    with armed(backlog, place(sink, sink.bucket())) as host:
        wait_until(lambda: sink.ask("stats")["objects"] > 10, 30, "the drain")
        yield from _figures("draining", _added(host, calls, HALF_FULL), limit)
    # the child ends with 78 and is not started again
    with armed(empty, NOWHERE | {"S3_BUCKET": "no such name!"}) as host:
        wait_until(lambda: not _keeping(), 30, "the end of the child")
        yield from _figures("dead", _added(host, calls, None), limit)
    sink.slow_down(0)
    empty.close()
    backlog.close()


def _added(host: Host, calls: int, most_unread: int | None) -> list[float]:
    """The microseconds that the hook adds to each call. After PATIENCE it makes no more calls."""
    added: list[float] = []
    clock, hooked = time.perf_counter, host.hooked
    until = time.monotonic() + PATIENCE
    while most_unread is None and host.unread() < 65_000 and not added and _keeping():
        hooked(None, "end", "front_door", DATA)  # fill the pipe
    for number in range(calls):
        if most_unread is not None and number % (100 if most_unread else 1) == 0:
            while host.unread() > most_unread:
                time.sleep(0.005)
            if time.monotonic() > until:
                break
        t0 = clock()
        handler(None, "end", "front_door", DATA)
        t1 = clock()
        hooked(None, "end", "front_door", DATA)
        added.append(1e6 * ((clock() - t1) - (t1 - t0)))
    return added


def _bare_writes(calls: int) -> list[float]:
    reading, writing = os.pipe()
    data, clock, took = f"{DATA['id']}\n".encode(), time.perf_counter, []
    for number in range(calls):
        t0 = clock()
        os.write(writing, data)
        took.append(1e6 * (clock() - t0))
        if number % 1_000 == 999:
            os.read(reading, 1 << 16)
    os.close(reading)
    os.close(writing)
    return took


def _bare_wakes(calls: int) -> list[float]:
    """The same, but each write wakes a process that only reads."""
    reading, writing = os.pipe()
    words = [sys.executable, "-I", "-S", "-c", READER]
    reader = os.posix_spawn(
        words[0], words, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, reading, 0)], setsid=True
    )
    os.close(reading)
    time.sleep(0.5)
    data, clock, took = f"{DATA['id']}\n".encode(), time.perf_counter, []
    for _ in range(calls):
        time.sleep(0.005)
        t0 = clock()
        os.write(writing, data)
        took.append(1e6 * (clock() - t0))
    os.close(writing)
    os.waitpid(reader, 0)
    return took


def _figures(state: str, added: list[float], limit: list[float]) -> Iterator[Figure]:
    pick: dict[str, tuple[Callable[[list[float]], float], float]] = {
        "median": (statistics.median, 15),
        "p99": (lambda some: percentile(some, 0.99), 100),
    }
    for name, (value, goal) in pick.items():
        yield Figure(f"added per call, child {state}, {name} of {len(added):,}", "µs",
                     [value(added)], "bare write", [value(limit)], below(goal))  # fmt: skip


def _keeping() -> bool:
    return any(thread.name == "s3_keeper" for thread in threading.enumerate())
