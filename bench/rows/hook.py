"""Hook: the time that the hook adds to one call of a handler on Frigate's event thread.

The bench is the host: it arms the hook on a handler that does nothing, and times each call with and
without the hook, one after the other. The child is in one of these states:

- asleep: each call waits until the child has read the last id, so that the write wakes the child
- idle: the child reads each id, which belongs to no event
- draining: the child uploads a backlog at full speed
- dead: the child has given up, and the hook starts no other
- pipe full: the child is stopped, and its pipe is full

While the child reads, the calls pause whenever the pipe is half full, so that no call is counted
that only drops its id. The limit is one bare write of the same bytes to a pipe, timed in the same
way. For the child asleep, it is a write to a pipe whose reader sleeps at nice 10 and only reads.
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
from bench.figures import Figure, below, percentile
from bench.house import House
from bench.lab import NOWHERE, Lab
from bench.processes import PLAIN, wait_until
from bench.servers import place

DATA = {"id": "1700000000.123456-abcdef", "has_snapshot": True}
HALF_FULL, PATIENCE = 32_768, 40.0
READER = "import os; os.nice(10)\nwhile os.read(0, 4096): pass"


def handler(self: Any, event_type: Any, camera: Any, event_data: Any) -> None: ...


class Host:
    """The hook with its child, on a handler that does nothing."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.observer = patcher.Observer()
        self.hooked = patcher._wrap_object(handler, self.observer)
        self.observer.start(PLAIN | environ | {"S3_MIRROR_PARENT": str(os.getpid())})

    def unread(self) -> int:
        """Bytes in the pipe."""
        answer = fcntl.ioctl(self.observer._writing, termios.FIONREAD, bytes(4))
        return int(struct.unpack("i", answer)[0])

    def stop(self) -> None:
        """Close the pipe and wait until the child has been reaped."""
        self.observer.stop()
        for thread in threading.enumerate():
            if thread.name == "s3_keeper":
                thread.join(30.0)


@contextmanager
def armed(house: House, where: dict[str, str]) -> Iterator[Host]:
    host = Host(house.environ | where | {"S3_LOG_LEVEL": "ERROR", "S3_DRAIN_SECONDS": "0"})
    try:
        yield host
    finally:
        host.stop()


@contextmanager
def stopped() -> Iterator[None]:
    """The children do nothing meanwhile."""
    pids = children()
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
    with armed(empty, NOWHERE | {"S3_BUCKET": "no such name!"}) as host:  # exit 78: stays off
        wait_until(lambda: not _keeping(), 30, "the end of the child")
        yield from _figures("dead", _added(host, calls, None), limit)
    sink.slow_down(0)
    empty.close()
    backlog.close()


def _added(host: Host, calls: int, most_unread: int | None) -> list[float]:
    """Microseconds that the hook adds to each of the calls; fewer where our patience ends."""
    added: list[float] = []
    clock, hooked = time.perf_counter, host.hooked
    until = time.monotonic() + PATIENCE
    while most_unread is None and host.unread() < 65_000 and not added and _keeping():
        hooked(None, "end", "front_door", DATA)  # fill it
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
    """The same, each write waking a process that does nothing but read."""
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


def children() -> list[int]:
    """The mirrors whose parent we are."""
    task = f"/proc/self/task/{os.getpid()}/children"
    with open(task) as file:
        some = [int(one) for one in file.read().split()]
    with_words = {pid: _command(pid) for pid in _of_all_threads(some)}
    return [pid for pid, words in with_words.items() if b"s3_snapshot_mirror" in words]


def _of_all_threads(some: list[int]) -> list[int]:
    found = list(some)
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/children") as file:
            found += [int(one) for one in file.read().split()]
    return sorted(set(found))


def _command(pid: int) -> bytes:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()
